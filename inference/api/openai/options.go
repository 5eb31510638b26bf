package openai

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"hearth/inference"
)

// constraints are fields of other servers that bind the answer in a way that is
// not enforced here. To ignore one would answer something else than was asked.
var constraints = map[string]string{
	"json_schema":            "use response_format with a json_schema",
	"format":                 "use response_format",
	"guided_json":            "use response_format with a json_schema",
	"guided_choice":          "use response_format with a json_schema whose enum lists the choices",
	"guided_regex":           "use response_format with a json_schema whose string has a pattern",
	"guided_grammar":         "use grammar, in GBNF",
	"structured_outputs":     "use response_format with a json_schema",
	"min_tokens":             "a least number of tokens is not enforced here: leave it out",
	"ignore_eos":             "the end of an answer is the model's: leave it out, and set max_tokens",
	"stop_token_ids":         "stopping at token ids is not supported: use stop with their text",
	"bad_words":              "use banned_strings",
	"functions":              "has been replaced: use tools",
	"function_call":          "has been replaced: use tool_choice",
	"audio":                  "answers are text only",
	"web_search_options":     "this server searches nothing by itself: offer a tool",
	"continue_final_message": "the assistant's last message cannot be continued: send the text so far to /v1/completions",
	"suffix":                 "text after the answer is not supported",
}

// inert are the fields of OpenAI's that have no effect on a local model.
var inert = []string{
	"user", "metadata", "store", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prediction", "verbosity",
}

// readOptions takes what chat and completion bodies have in common.
func (a *API) readOptions(r *http.Request, f *fields, defaults inference.Sampling) inference.Options {
	o := inference.Options{
		Caller: inference.CallerFrom(r.Context()), RequestID: requestID(r), Sampling: defaults, N: 1,
	}
	for _, key := range slices.Sorted(maps.Keys(constraints)) {
		f.refuse(key, constraints[key])
	}
	for _, key := range inert {
		f.take(key)
	}
	o.Priority = readTier(f)
	s := &o.Sampling
	f.float("temperature", &s.Temperature)
	f.float("top_p", &s.TopP)
	f.float("min_p", &s.MinP)
	f.integer("top_k", &s.TopK)
	f.float("presence_penalty", &s.PresencePenalty)
	f.float("frequency_penalty", &s.FrequencyPenalty)
	f.float("repeat_penalty", &s.RepeatPenalty)
	f.integer("repeat_last_n", &s.RepeatLastN)
	if s.TopK == -1 {
		s.TopK = 0 // both are written for "off"
	}
	readStages(f, s)
	readSeed(f, s)
	readBias(f, s)
	if f.integer("n", &o.N) && (o.N < 1 || o.N > inference.MaxChoices) {
		f.fail("n", "must be between 1 and %d, got %d", inference.MaxChoices, o.N)
	}
	readMaxTokens(f, &o)
	o.Stop = readStop(f)
	o.Adapters = readAdapters(f)
	f.str("grammar", &o.Grammar)
	readForced(f, &o)
	return o
}

// readForced takes what is to be done about text without a choice.
func readForced(f *fields, o *inference.Options) {
	var mode string
	if !f.str("forced_text", &mode) {
		return
	}
	if o.Forced = inference.ForcedText(mode); mode == "" {
		f.fail("forced_text", "must be %q, %q or %q: leave it out for what is configured", inference.ForcedOff, inference.ForcedGuess, inference.ForcedAppend)
	} else if err := o.Forced.Validate("forced_text"); err != nil {
		f.failed(err)
	}
}

// The names that service_tier has in answers.
const (
	tierFlex    = "flex"
	tierDefault = "default"
)

// readTier takes service_tier, OpenAI's name for how urgent a request is. The
// tiers that it sells above the default one are the default here.
func readTier(f *fields) inference.Priority {
	var tier string
	if !f.str("service_tier", &tier) {
		return inference.PriorityNormal
	}
	switch tier {
	case tierFlex:
		return inference.PriorityLow
	case "auto", tierDefault, "priority", "scale":
	default:
		f.fail("service_tier", "must be flex, for work that may wait, or auto, default, priority or scale, which are all the same here, got %q", tier)
	}
	return inference.PriorityNormal
}

// tierServed names the tier of an answer, "" if the request asked for none.
func tierServed(f *fields, p inference.Priority) string {
	if _, asked := f.take("service_tier"); !asked {
		return ""
	}
	if p == inference.PriorityLow {
		return tierFlex
	}
	return tierDefault
}

// readStages takes the stages of sampling that OpenAI does not have, as
// llama-server names them.
func readStages(f *fields, s *inference.Sampling) {
	f.float("typical_p", &s.TypicalP)
	if f.float("top_n_sigma", &s.TopNSigma); s.TopNSigma == -1 {
		s.TopNSigma = 0 // both are written for "off"
	}
	f.float("dry_multiplier", &s.DryMultiplier)
	f.float("dry_base", &s.DryBase)
	f.integer("dry_allowed_length", &s.DryAllowedLength)
	f.integer("dry_penalty_last_n", &s.DryLastN)
	readStrings(f, "dry_sequence_breakers", &s.DryBreakers)
	f.float("xtc_probability", &s.XTCProbability)
	f.float("xtc_threshold", &s.XTCThreshold)
	f.integer("mirostat", &s.Mirostat)
	f.float("mirostat_tau", &s.MirostatTau)
	f.float("mirostat_eta", &s.MirostatEta)
	f.float("dynatemp_range", &s.DynatempRange)
	f.float("dynatemp_exponent", &s.DynatempExponent)
	readStrings(f, "banned_strings", &s.Banned)
}

// readStrings takes a list of strings.
func readStrings(f *fields, key string, to *[]string) {
	parts, ok := f.list(key)
	if !ok {
		return
	}
	out := make([]string, len(parts))
	for i, p := range parts {
		if p[0] != '"' || json.Unmarshal(p, &out[i]) != nil {
			f.fail(fmt.Sprintf("%s[%d]", key, i), "must be a string, got %s", kind(p))
			return
		}
	}
	*to = out
}

// readSeed takes any 64-bit integer. A small one stays what it is.
func readSeed(f *fields, s *inference.Sampling) {
	v, ok := f.take("seed")
	if !ok {
		return
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		f.fail("seed", "must be a 64-bit integer, got %s", number(v))
		return
	}
	seed := uint32(n)
	if n < 0 || n > 1<<32-1 {
		seed ^= uint32(uint64(n) >> 32)
	}
	s.Seed = &seed
}

func readBias(f *fields, s *inference.Sampling) {
	bias, ok := f.object("logit_bias")
	if !ok {
		return
	}
	s.LogitBias = make(map[int32]float32, len(bias.value))
	for key := range bias.value {
		token, err := strconv.ParseInt(key, 10, 32)
		if err != nil {
			bias.fail(key, "is not a token id")
			break
		}
		var b float32
		if bias.float(key, &b) {
			s.LogitBias[int32(token)] = b
		}
	}
	if err := bias.err(); err != nil {
		f.failed(err)
	}
}

// readMaxTokens takes the bound under both of its names; -1 is none.
func readMaxTokens(f *fields, o *inference.Options) {
	var older, newer int
	hasOlder := f.integer("max_tokens", &older)
	hasNewer := f.integer("max_completion_tokens", &newer)
	check := func(key string, n int) {
		if n < 1 && n != -1 {
			f.fail(key, "must be at least 1, or -1 for no bound but the context, got %d", n)
		}
	}
	if hasOlder {
		check("max_tokens", older)
		o.MaxTokens = max(older, 0)
	}
	if hasNewer {
		check("max_completion_tokens", newer)
		o.MaxTokens = max(newer, 0)
	}
	if hasOlder && hasNewer && older != newer {
		f.fail("max_tokens", "is %d, but max_completion_tokens, which means the same, is %d: send one of them", older, newer)
	}
}

// readAdapters takes lora, a list of {"name", "scale"}.
func readAdapters(f *fields) []inference.AdapterUse {
	parts, ok := f.list("lora")
	if !ok {
		return nil
	}
	if len(parts) > inference.MaxAdapters {
		f.fail("lora", "may name at most %d adapters, got %d", inference.MaxAdapters, len(parts))
		return nil
	}
	uses := make([]inference.AdapterUse, len(parts))
	for i, part := range parts {
		o, err := parseObject(fmt.Sprintf("lora[%d]", i), part)
		if err != nil {
			f.failed(err)
			return nil
		}
		u, scale := &uses[i], float32(0)
		if !o.str("name", &u.Name) {
			o.fail("name", "is missing: adapters are named, /v1/models lists them")
		}
		if o.float("scale", &scale) {
			u.Scale = &scale
		}
		for _, key := range o.rest() {
			o.fail(key, "is not known: an adapter has a name and a scale")
		}
		if err := o.err(); err != nil {
			f.failed(err)
			return nil
		}
	}
	return uses
}

// readStop takes one string or a list of them. Empty strings, which some clients
// send for "none", stop nothing only when they stand alone.
func readStop(f *fields) []string {
	v, ok := f.take("stop")
	if !ok || string(v) == `""` {
		return nil
	}
	if v[0] == '"' {
		var one string
		f.str("stop", &one)
		return []string{one}
	}
	if v[0] != '[' {
		f.fail("stop", "must be a string or a list of strings, got %s", kind(v))
		return nil
	}
	parts, _ := f.list("stop")
	out := make([]string, len(parts))
	for i, p := range parts {
		if p[0] != '"' || json.Unmarshal(p, &out[i]) != nil {
			f.fail(fmt.Sprintf("stop[%d]", i), "must be a string, got %s", kind(p))
		}
	}
	return out
}

// streaming is how an answer is to be sent.
type streaming struct {
	on    bool
	usage bool // a last chunk with the usage
	// progress: chunks that say how much of a long prompt is computed, as
	// llama-server has them.
	progress bool
}

func readStreaming(f *fields) streaming {
	var s streaming
	f.boolean("stream", &s.on)
	f.boolean("return_progress", &s.progress)
	if o, ok := f.object("stream_options"); ok {
		o.boolean("include_usage", &s.usage)
		if err := o.err(); err != nil {
			f.failed(err)
		}
	}
	return s
}

// readFormat takes response_format.
func readFormat(f *fields) inference.Format {
	out := inference.Format{Kind: inference.FormatText}
	o, ok := f.object("response_format")
	if !ok {
		return out
	}
	var name string
	if !o.str("type", &name) && o.err() == nil {
		o.fail("type", "is missing; it must be text, json_object or json_schema")
	}
	switch out.Kind = inference.FormatKind(name); out.Kind {
	case inference.FormatText:
	case inference.FormatJSONObject:
		// llama.cpp's clients put a schema here.
		if schema, ok := o.take("schema"); ok {
			out.Kind, out.Schema = inference.FormatJSONSchema, schema
		}
	case inference.FormatJSONSchema:
		wrapper, ok := o.object("json_schema")
		if !ok {
			o.fail("json_schema", "is missing")
			break
		}
		if out.Schema, ok = wrapper.take("schema"); !ok {
			o.failed(inference.Invalid(wrapper.path("schema"), "is missing"))
		}
	default:
		o.fail("type", "must be text, json_object or json_schema, got %q", name)
	}
	if err := o.err(); err != nil {
		f.failed(err)
	}
	return out
}
