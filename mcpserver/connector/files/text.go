package files

import (
	"bytes"
	"net/http"
	"path"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// sniffBytes is how much of a file decides what it is.
const sniffBytes = 8 << 10

// charset is how a file holds text.
type charset struct {
	name string
	enc  encoding.Encoding // nil: UTF-8
	bom  int               // bytes at the file's beginning that are no text
	unit int               // bytes of the smallest piece
}

var (
	utf8Text = charset{name: "UTF-8", unit: 1}
	utf16le  = charset{name: "UTF-16LE", enc: unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), unit: 2}
	utf16be  = charset{name: "UTF-16BE", enc: unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM), unit: 2}
	latin    = charset{name: "Windows-1252", enc: charmap.Windows1252, unit: 1}
)

// sniff says how a file that begins with head holds text, and false for one that
// holds none. whole says that head is all of it.
func sniff(head []byte, whole bool) (charset, bool) {
	marked := func(c charset, n int) (charset, bool) {
		c.bom = n
		return c, true
	}
	switch {
	case bytes.HasPrefix(head, []byte{0xef, 0xbb, 0xbf}):
		return marked(utf8Text, 3)
	case bytes.HasPrefix(head, []byte{0xff, 0xfe, 0, 0}), bytes.HasPrefix(head, []byte{0, 0, 0xfe, 0xff}):
		return charset{}, false // UTF-32, which nobody writes
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}):
		return marked(utf16le, 2)
	case bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return marked(utf16be, 2)
	}
	if bytes.IndexByte(head, 0) >= 0 {
		return sniffUTF16(head)
	}
	for _, b := range head {
		if b < 0x20 && !strings.ContainsRune("\t\n\v\f\r\x1b\b", rune(b)) || b == 0x7f {
			return charset{}, false
		}
	}
	if validPrefix(head, whole) {
		return utf8Text, true
	}
	return latin, true
}

// sniffUTF16 finds UTF-16 without a mark: text whose characters are mostly of the
// first 256, so that every second byte is zero.
func sniffUTF16(head []byte) (charset, bool) {
	var zeros [2]int
	for i, b := range head {
		if b == 0 {
			zeros[i%2]++
		}
	}
	half := len(head) / 2
	switch {
	case half < 2:
	case 10*zeros[1] >= 9*half && zeros[0] == 0:
		return utf16le, true
	case 10*zeros[0] >= 9*half && zeros[1] == 0:
		return utf16be, true
	}
	return charset{}, false
}

// validPrefix says whether data is UTF-8, but for a character that is cut off at
// its end.
func validPrefix(data []byte, whole bool) bool {
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n <= 1 {
			return !whole && !utf8.FullRune(data)
		}
		data = data[n:]
	}
	return true
}

// decode returns the text of data; what is no text of the charset becomes U+FFFD.
func (c charset) decode(data []byte) string {
	if c.enc == nil {
		return strings.ToValidUTF8(string(data), "\ufffd")
	}
	text, err := c.enc.NewDecoder().Bytes(data)
	if err != nil {
		return strings.ToValidUTF8(string(data), "\ufffd")
	}
	return string(text)
}

// mimes are the types of common extensions: the same ones on every machine.
var mimes = map[string]string{
	".txt": "text/plain", ".md": "text/markdown", ".csv": "text/csv", ".tsv": "text/tab-separated-values", ".html": "text/html", ".htm": "text/html",
	".css": "text/css", ".js": "text/javascript", ".json": "application/json", ".yaml": "application/yaml", ".yml": "application/yaml", ".toml": "application/toml",
	".xml": "application/xml", ".go": "text/x-go", ".py": "text/x-python", ".sh": "text/x-shellscript", ".sql": "application/sql", ".log": "text/plain",
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".svg": "image/svg+xml",
	".pdf": "application/pdf", ".zip": "application/zip", ".gz": "application/gzip", ".tar": "application/x-tar",
	".mp3": "audio/mpeg", ".wav": "audio/wav", ".mp4": "video/mp4", ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ".sqlite": "application/vnd.sqlite3", ".db": "application/vnd.sqlite3",
}

// mimeOf is the media type of a file; head may be nil.
func mimeOf(rel string, head []byte, text bool) string {
	if m := mimes[strings.ToLower(path.Ext(rel))]; m != "" {
		return m
	}
	switch {
	case text:
		return "text/plain"
	case head == nil:
		return ""
	}
	m, _, _ := strings.Cut(http.DetectContentType(head), ";")
	return m
}
