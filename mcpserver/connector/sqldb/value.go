package sqldb

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// exact is the largest magnitude up to which every reader of JSON has every
// whole number: 2^53.
const exact = 1 << 53

var null = json.RawMessage("null")

// textValue is a text as JSON. Bytes that are no UTF-8 show as U+FFFD. A text of
// more than limit bytes is cut, and says so.
func textValue(s string, limit int) json.RawMessage {
	if len(s) > limit {
		// The cut is at the start of a character, where there are characters.
		n := limit
		for n > limit-utf8.UTFMax && n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + fmt.Sprintf("…[cut: %d of %d bytes shown]", n, len(s))
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(strings.ToValidUTF8(s, "\uFFFD")) != nil {
		return null // a string always encodes
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// bytesValue is bytes as a JSON string in base64.
func bytesValue(b []byte, limit int) json.RawMessage {
	if shown := max(limit/4*3, 3); len(b) > shown {
		return textValue(base64.StdEncoding.EncodeToString(b[:shown])+fmt.Sprintf("…[cut: %d of %d bytes shown]", shown, len(b)), math.MaxInt)
	}
	return textValue(base64.StdEncoding.EncodeToString(b), math.MaxInt)
}

// intValue is a number where JSON numbers are exact, and a string beyond.
func intValue(n int64) json.RawMessage {
	s := strconv.FormatInt(n, 10)
	if n > exact || n < -exact {
		s = `"` + s + `"`
	}
	return json.RawMessage(s)
}

// numberText is a whole number in text form, as intValue.
func numberText(s string, limit int) json.RawMessage {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return intValue(n)
	}
	return textValue(s, limit)
}

// floatValue is a floating-point number of 32 or 64 bits, in its shortest form.
// Infinities and NaN are strings.
func floatValue(f float64, bits int) json.RawMessage {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return textValue(strconv.FormatFloat(f, 'g', -1, bits), math.MaxInt)
	}
	b := strconv.AppendFloat(nil, f, 'g', -1, bits)
	if !json.Valid(b) { // 1e+06 is JSON, too
		return textValue(string(b), math.MaxInt)
	}
	return b
}

// jsonValue is JSON text as it is, without the space between its tokens. What is
// no JSON, or larger than limit, is a text.
func jsonValue(s string, limit int) json.RawMessage {
	var b bytes.Buffer
	if len(s) > limit || !utf8.ValidString(s) || json.Compact(&b, []byte(s)) != nil {
		return textValue(s, limit)
	}
	return b.Bytes()
}

// timestampValue turns the ISO form of databases (a space between date and time,
// an offset of hours) into RFC 3339. What has no offset stays without one: the
// database does not know which one it would be.
func timestampValue(s string, limit int) json.RawMessage {
	date, clock, found := strings.Cut(s, " ")
	if !found || len(date) != len("2006-01-02") || len(clock) < len("15:04:05") || strings.HasPrefix(date, "0000") {
		return textValue(s, limit) // infinity, a year BC, a year of five digits, no date at all
	}
	if strings.Contains(clock, " ") { // BC
		return textValue(s, limit)
	}
	if i := strings.LastIndexAny(clock, "+-"); i > 0 {
		offset := clock[i:]
		switch {
		case offset == "+00" || offset == "+00:00":
			clock = clock[:i] + "Z"
		case len(offset) == len("+02"):
			clock += ":00"
		}
	}
	return textValue(date+"T"+clock, limit)
}

// plain is a value as the text table shows it.
func plain(v json.RawMessage) string {
	switch {
	case len(v) == 0 || string(v) == "null":
		return "NULL"
	case v[0] == '"':
		var s string
		if json.Unmarshal(v, &s) == nil {
			return s
		}
	}
	return string(v)
}
