package loadgen

import "encoding/json"

// tool is a tool that requests offer, in the form of OpenAI's API.
type tool struct {
	Type     string       `json:"type"`
	Function toolFunction `json:"function"`
}

type toolFunction struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Parameters  json.RawMessage `json:"parameters"`
}

// newTool makes a tool whose properties are all required. They are bounded, so
// that a call always ends.
func newTool(name, description, required, properties string) tool {
	return tool{Type: "function", Function: toolFunction{
		Name: name, Description: description,
		Parameters: json.RawMessage(`{"type":"object","properties":{` + properties + `},"required":[` + required + `],"additionalProperties":false}`),
	}}
}

// tools are those that requests offer, the first of them where a scenario asks
// for fewer. They are what an assistant at home might have.
var tools = []tool{
	newTool("set_room_temperature", "Set the temperature of a room", `"room","degrees_celsius"`,
		`"room":{"type":"string","enum":["kitchen","bedroom","bathroom","office"]},"degrees_celsius":{"type":"integer","minimum":10,"maximum":30}`),
	newTool("turn_light_on_or_off", "Switch a light", `"room","on"`,
		`"room":{"type":"string","enum":["kitchen","bedroom","bathroom","office"]},"on":{"type":"boolean"}`),
	newTool("get_weather_forecast", "Weather at a place in the next days", `"city","days"`,
		`"city":{"type":"string","maxLength":24},"days":{"type":"integer","minimum":1,"maximum":7}`),
	newTool("add_calendar_entry", "Put an appointment into the calendar", `"title","day","hour"`,
		`"title":{"type":"string","maxLength":32},"day":{"type":"string","enum":["today","tomorrow","next week"]},"hour":{"type":"integer","minimum":0,"maximum":23}`),
	newTool("find_recipe", "Look for a recipe", `"ingredient","vegetarian"`,
		`"ingredient":{"type":"string","maxLength":24},"vegetarian":{"type":"boolean"}`),
	newTool("play_music", "Play music in the house", `"artist","volume_percent"`,
		`"artist":{"type":"string","maxLength":32},"volume_percent":{"type":"integer","minimum":0,"maximum":100}`),
	newTool("send_text_message", "Send a short message to somebody", `"recipient","message"`,
		`"recipient":{"type":"string","maxLength":20},"message":{"type":"string","maxLength":60}`),
	newTool("start_timer", "Start a timer", `"minutes","label"`,
		`"minutes":{"type":"integer","minimum":1,"maximum":180},"label":{"type":"string","maxLength":20}`),
	newTool("search_train_connection", "Find trains between two towns", `"origin","destination","departure"`,
		`"origin":{"type":"string","maxLength":20},"destination":{"type":"string","maxLength":20},"departure":{"type":"string","enum":["morning","noon","evening"]}`),
	newTool("add_to_shopping_list", "Write something on the shopping list", `"item","quantity"`,
		`"item":{"type":"string","maxLength":24},"quantity":{"type":"integer","minimum":1,"maximum":20}`),
	newTool("translate_text", "Translate a short text", `"text","target_language"`,
		`"text":{"type":"string","maxLength":60},"target_language":{"type":"string","enum":["French","German","Spanish","Italian"]}`),
	newTool("convert_currency", "Convert an amount of money", `"amount","from_currency","to_currency"`,
		`"amount":{"type":"integer","minimum":1,"maximum":10000},"from_currency":{"type":"string","enum":["EUR","USD","GBP"]},"to_currency":{"type":"string","enum":["EUR","USD","GBP"]}`),
	newTool("read_news_headlines", "Read the headlines on a topic", `"topic","number_of_headlines"`,
		`"topic":{"type":"string","enum":["politics","sports","science","culture"]},"number_of_headlines":{"type":"integer","minimum":1,"maximum":10}`),
	newTool("water_the_garden", "Water a part of the garden", `"zone","minutes"`,
		`"zone":{"type":"string","enum":["lawn","roses","vegetables"]},"minutes":{"type":"integer","minimum":1,"maximum":60}`),
	newTool("book_restaurant_table", "Book a table in a restaurant", `"restaurant","people","hour"`,
		`"restaurant":{"type":"string","maxLength":24},"people":{"type":"integer","minimum":1,"maximum":12},"hour":{"type":"integer","minimum":11,"maximum":22}`),
	newTool("remember_note", "Keep a note for later", `"note","important"`,
		`"note":{"type":"string","maxLength":60},"important":{"type":"boolean"}`),
}
