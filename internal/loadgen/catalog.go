package loadgen

import "encoding/json"

const (
	instruction     = "Write a long story in which these appear:"
	jsonInstruction = "Invent a person who fits these words and describe the person as JSON:"
	jsonStory       = "Tell a long story with these words as JSON, with a title:"
	toolInstruction = "Call the tool that serves best for somebody who says:"
	talkInstruction = "Let us talk, in long sentences, about:"
)

// keysSchema asks for a document of which most is known before it is written:
// long names of properties, choices, and short values.
const keysSchema = `{"type":"object","additionalProperties":false,"required":[
"full_legal_name_of_the_account_holder","age_of_the_account_holder_in_years","preferred_language_of_communication",
"current_state_of_the_customer_relationship","is_subscribed_to_the_weekly_newsletter",
"city_of_the_primary_delivery_address","most_recent_product_category_of_interest",
"estimated_probability_of_another_purchase"],"properties":{
"full_legal_name_of_the_account_holder":{"type":"string","minLength":1,"maxLength":16},
"age_of_the_account_holder_in_years":{"type":"integer","minimum":18,"maximum":99},
"preferred_language_of_communication":{"type":"string","enum":["English","French","German","Spanish"]},
"current_state_of_the_customer_relationship":{"type":"string","enum":["prospective customer","returning customer","former customer"]},
"is_subscribed_to_the_weekly_newsletter":{"type":"boolean"},
"city_of_the_primary_delivery_address":{"type":"string","minLength":1,"maxLength":16},
"most_recent_product_category_of_interest":{"type":"string","enum":["household appliances","outdoor equipment","musical instruments"]},
"estimated_probability_of_another_purchase":{"type":"string","enum":["very low","low","medium","high","very high"]}}}`

// textSchema asks for a document of free text: nothing of it but two short keys is
// known before it is written.
const textSchema = `{"type":"object","additionalProperties":false,"required":["title","story"],` +
	`"properties":{"title":{"type":"string"},"story":{"type":"string"}}}`

// scenarios are the patterns that there are, in the order of reports.
var scenarios = []Scenario{
	{Name: "single", Title: "one stream", Groups: []Group{
		{Name: "clients", Clients: 1, Requests: 8, Instruction: instruction, PromptWords: 20, MaxTokens: 64},
	}},
	{Name: "parallel", Title: "8 different prompts", Groups: []Group{
		{Name: "clients", Clients: 8, Requests: 2, Instruction: instruction, PromptWords: 20, MaxTokens: 64},
	}},
	{Name: "parallel-32", Title: "32 different prompts", Groups: []Group{
		{Name: "clients", Clients: 32, Requests: 1, Instruction: instruction, PromptWords: 20, MaxTokens: 64},
	}},
	{Name: "shared-prefix", Title: "8 clients, one new system prompt of 900 words", Groups: []Group{
		{Name: "clients", Clients: 8, Requests: 1, Instruction: instruction, PromptWords: 20, SharedSystemWords: 900, MaxTokens: 64},
	}},
	{Name: "shared-prefix-32", Title: "32 clients, one new system prompt of 900 words", Groups: []Group{
		{Name: "clients", Clients: 32, Requests: 1, Instruction: instruction, PromptWords: 20, SharedSystemWords: 900, MaxTokens: 64},
	}},
	{Name: "mixed", Title: "4 decoding while 4 send prompts of 1,200 words", Watch: "decoding", Groups: []Group{
		{Name: "decoding", Clients: 4, Requests: 0, Instruction: instruction, PromptWords: 20, MaxTokens: 256},
		{Name: "prompts", Clients: 4, Requests: 1, Instruction: instruction, PromptWords: 1200, MaxTokens: 64, After: "decoding"},
	}},
	{Name: "json-keys", Title: "8 clients, JSON schema with long keys", Groups: []Group{
		{Name: "clients", Clients: 8, Requests: 2, Instruction: jsonInstruction, PromptWords: 20, MaxTokens: 448, Schema: json.RawMessage(keysSchema)},
	}},
	{Name: "json-text", Title: "8 clients, JSON schema of free text", Groups: []Group{
		{Name: "clients", Clients: 8, Requests: 2, Instruction: jsonStory, PromptWords: 20, MaxTokens: 64, Schema: json.RawMessage(textSchema)},
	}},
	{Name: "tools", Title: "8 clients, 16 tools of which one must be called", Groups: []Group{
		{Name: "clients", Clients: 8, Requests: 2, Instruction: toolInstruction, PromptWords: 20, MaxTokens: 72, Tools: 16},
	}},
	{Name: "agents", Title: "8 agents, each with 6 rounds of tools", Groups: []Group{
		{Name: "clients", Clients: 8, Requests: 7, Conversations: 1, Instruction: toolInstruction, PromptWords: 20, TurnWords: 40, MaxTokens: 48, Tools: 16, ToolChoice: toolAuto},
	}},
	{Name: "conversations", Title: "16 conversations in turn, 8 at a time", Groups: []Group{
		{Name: "clients", Clients: 8, Requests: 8, Conversations: 2, Instruction: talkInstruction, PromptWords: 60, TurnWords: 60, MaxTokens: 64},
	}},
	{Name: "conversations-shared", Title: "16 conversations in turn, 8 at a time, with one system prompt of 900 words", Groups: []Group{
		{Name: "clients", Clients: 8, Requests: 8, Conversations: 2, Instruction: talkInstruction, PromptWords: 60, TurnWords: 60, SharedSystemWords: 900, MaxTokens: 64},
	}},
	{Name: "long-prompt", Title: "one client, a new system prompt of 900 words", Groups: []Group{
		{Name: "clients", Clients: 1, Requests: 1, Instruction: instruction, PromptWords: 20, SharedSystemWords: 900, MaxTokens: 16},
	}},
	{Name: "embed", Title: "embeddings: 8 clients, one text a request", Groups: []Group{
		{Name: "clients", Clients: 8, Requests: 40, PromptWords: 48, Texts: 1},
	}},
	{Name: "embed-lists", Title: "embeddings: 4 clients, lists of 32 texts", Groups: []Group{
		{Name: "clients", Clients: 4, Requests: 2, PromptWords: 120, Texts: 32, Base64: true},
	}},
}
