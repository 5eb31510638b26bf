package inference

// What a request to a model asks for, as audit records name it.
const (
	ActionChat     = "chat"
	ActionComplete = "complete"
)

// Refusal is a chat or completion that a door refused before it reached a
// model. What a model refuses itself is an error of Chat or Complete instead, so
// a request is one or the other.
type Refusal struct {
	Action    string // ActionChat or ActionComplete
	Model     string // the id that was asked for, as the client wrote it; "" if it could not be read
	RequestID string
	// Code is the one that [Classify] gives, or one that the door alone knows;
	// there are few of them, so they may be labels of a metric.
	Code string
}
