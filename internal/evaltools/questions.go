package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// tools are the 8 functions that every question offers.
var tools = json.RawMessage(`[
 {"type":"function","function":{"name":"get_weather","description":"Get the current weather of a city.","parameters":{"type":"object","properties":{"city":{"type":"string","description":"Name of the city"}},"required":["city"]}}},
 {"type":"function","function":{"name":"get_time","description":"Get the current local time of a city.","parameters":{"type":"object","properties":{"city":{"type":"string","description":"Name of the city"}},"required":["city"]}}},
 {"type":"function","function":{"name":"multiply","description":"Multiply two numbers.","parameters":{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}}},
 {"type":"function","function":{"name":"translate","description":"Translate a text into a language.","parameters":{"type":"object","properties":{"text":{"type":"string"},"language":{"type":"string","description":"Name of the language in English"}},"required":["text","language"]}}},
 {"type":"function","function":{"name":"send_email","description":"Send an email.","parameters":{"type":"object","properties":{"to":{"type":"string","description":"Address"},"subject":{"type":"string"}},"required":["to","subject"]}}},
 {"type":"function","function":{"name":"set_timer","description":"Start a timer.","parameters":{"type":"object","properties":{"minutes":{"type":"integer"}},"required":["minutes"]}}},
 {"type":"function","function":{"name":"play_music","description":"Play music of an artist.","parameters":{"type":"object","properties":{"artist":{"type":"string"}},"required":["artist"]}}},
 {"type":"function","function":{"name":"stock_price","description":"Get the price of a stock.","parameters":{"type":"object","properties":{"symbol":{"type":"string","description":"Ticker symbol"}},"required":["symbol"]}}}
]`)

// question is what is asked, and the one call that answers it.
type question struct {
	text, tool string
	args       map[string]string
}

func questions() []question {
	var all []question
	ask := func(tool string, keys []string, rows ...[]string) {
		for _, r := range rows {
			q := question{text: r[0], tool: tool, args: map[string]string{}}
			for i, k := range keys {
				q.args[k] = r[i+1]
			}
			all = append(all, q)
		}
	}
	ask(
		"get_weather", []string{"city"},
		[]string{"What is the weather in Paris?", "Paris"},
		[]string{"Is it raining in Oslo right now?", "Oslo"},
		[]string{"How warm is it in Madrid today?", "Madrid"},
		[]string{"Do I need an umbrella in London?", "London"},
		[]string{"Tell me the weather for Tokyo.", "Tokyo"},
	)
	ask(
		"get_time", []string{"city"},
		[]string{"What time is it in New York?", "New York"},
		[]string{"Tell me the local time in Sydney.", "Sydney"},
		[]string{"How late is it in Berlin now?", "Berlin"},
		[]string{"What is the current time in Cairo?", "Cairo"},
		[]string{"Is it already past noon in Lima? Look up the time.", "Lima"},
	)
	ask(
		"multiply", []string{"a", "b"},
		[]string{"What is 12 times 34?", "12", "34"},
		[]string{"Multiply 7 by 8.", "7", "8"},
		[]string{"Compute 125 * 16.", "125", "16"},
		[]string{"How much is 99 multiplied by 101?", "99", "101"},
		[]string{"What is the product of 3.5 and 4?", "3.5", "4"},
	)
	ask(
		"translate", []string{"text", "language"},
		[]string{"Translate 'good morning' into French.", "good morning", "French"},
		[]string{"How do you say 'thank you' in Japanese? Use the translator.", "thank you", "Japanese"},
		[]string{"Translate 'Where is the station?' to German.", "Where is the station?", "German"},
		[]string{"Please translate 'I love you' into Italian.", "I love you", "Italian"},
		[]string{"Translate the word 'water' into Spanish.", "water", "Spanish"},
	)
	ask(
		"send_email", []string{"to", "subject"},
		[]string{"Send an email to anna@example.org with the subject 'Lunch'.", "anna@example.org", "Lunch"},
		[]string{"Write an email to bob@example.org, subject 'Invoice'.", "bob@example.org", "Invoice"},
		[]string{"Email carol@example.org with the subject 'Meeting tomorrow'.", "carol@example.org", "Meeting tomorrow"},
		[]string{"Send a mail to dave@example.org. The subject is 'Hello'.", "dave@example.org", "Hello"},
		[]string{"Please send eve@example.org an email with subject 'Report'.", "eve@example.org", "Report"},
	)
	ask(
		"set_timer", []string{"minutes"},
		[]string{"Set a timer for 10 minutes.", "10"},
		[]string{"Start a timer of 3 minutes for my eggs.", "3"},
		[]string{"Remind me in 25 minutes with a timer.", "25"},
		[]string{"I need a timer: 45 minutes.", "45"},
		[]string{"Put the timer on 7 minutes, please.", "7"},
	)
	ask(
		"play_music", []string{"artist"},
		[]string{"Play something by Miles Davis.", "Miles Davis"},
		[]string{"I want to hear music of Björk.", "Björk"},
		[]string{"Put on some Beatles.", "Beatles"},
		[]string{"Play songs of Nina Simone.", "Nina Simone"},
		[]string{"Let me listen to Mozart.", "Mozart"},
	)
	ask(
		"stock_price", []string{"symbol"},
		[]string{"What is the stock price of AAPL?", "AAPL"},
		[]string{"How much does a share of MSFT cost?", "MSFT"},
		[]string{"Get me the price of the stock NVDA.", "NVDA"},
		[]string{"Look up the current price of TSLA.", "TSLA"},
		[]string{"What is IBM trading at? The symbol is IBM.", "IBM"},
	)
	return all
}

// call is a tool call of an answer.
type call struct {
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

// right reports whether the calls of an answer are the one that q asks for.
func (q *question) right(calls []call) bool {
	if len(calls) != 1 || calls[0].Function.Name != q.tool {
		return false
	}
	dec := json.NewDecoder(strings.NewReader(calls[0].Function.Arguments))
	dec.UseNumber()
	var args map[string]any
	if dec.Decode(&args) != nil || len(args) != len(q.args) {
		return false
	}
	for k, want := range q.args {
		got, ok := args[k]
		if !ok || !strings.EqualFold(strings.TrimSuffix(strings.TrimSpace(fmt.Sprint(got)), ".0"), want) {
			return false
		}
	}
	return true
}
