package inference

// What a request to a model asks for, as audit records name it.
const (
	ActionChat     = "chat"
	ActionComplete = "complete"
	ActionEmbed    = "embed"
	ActionRerank   = "rerank"
)

// Refusal is a request to a model that a door refused before it reached a
// model. What a model refuses itself is an error of Chat, Complete or Embed
// instead, so a request is one or the other.
type Refusal struct {
	Action    string // one of the Action constants
	Model     string // the id that was asked for, as the client wrote it; "" if it could not be read
	RequestID string
	// Code is the one that [Classify] gives, or one that the door alone knows;
	// there are few of them, so they may be labels of a metric.
	Code string
}
