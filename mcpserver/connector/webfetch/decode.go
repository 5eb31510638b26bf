package webfetch

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/andybalholm/brotli"
	"github.com/gogs/chardet"
	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
)

// encodings are the content codings that are asked for.
const encodings = "gzip, deflate, br"

// decompressed undoes the content coding of a response. What it returns gives out
// no more than the reader takes, however small the response is.
func decompressed(resp *http.Response) (io.Reader, error) {
	coding := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding")))
	switch coding {
	case "", "identity":
		return resp.Body, nil
	case "gzip", "x-gzip":
		return gzip.NewReader(resp.Body)
	case "br":
		return brotli.NewReader(resp.Body), nil
	case "deflate":
		// By the standard a zlib stream; some hosts send the bare one.
		head := make([]byte, 2)
		n, err := io.ReadFull(resp.Body, head)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		body := io.MultiReader(bytes.NewReader(head[:n]), resp.Body)
		if n == 2 && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
			return zlib.NewReader(body)
		}
		return flate.NewReader(body), nil
	}
	return nil, fmt.Errorf("the page is compressed as %.40q, which was not asked for", coding)
}

// readAtMost reads at most limit bytes, and says whether there was more.
func readAtMost(r io.Reader, limit int64) (data []byte, more bool, err error) {
	data, err = io.ReadAll(io.LimitReader(r, limit+1))
	if int64(len(data)) > limit {
		return data[:limit], true, nil
	}
	return data, false, err
}

// mediaType is the type of a response, without parameters; the second result is
// the charset that it names.
func mediaType(header string, data []byte) (kind, set string) {
	kind, params, err := mime.ParseMediaType(header)
	if err != nil || !strings.Contains(kind, "/") || kind == "application/octet-stream" || kind == "application/x-unknown" {
		kind, params, _ = mime.ParseMediaType(http.DetectContentType(data)) // always well-formed
	}
	return kind, params["charset"]
}

// isHTML and isText say what the body of a type is.
func isHTML(kind string) bool { return kind == "text/html" || kind == "application/xhtml+xml" }

func isText(kind string) bool {
	if strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+json") || strings.HasSuffix(kind, "+xml") || strings.HasSuffix(kind, "+yaml") {
		return kind != "image/svg+xml"
	}
	switch kind {
	case "application/json", "application/xml", "application/yaml", "application/x-yaml", "application/toml", "application/javascript",
		"application/x-javascript", "application/ecmascript", "application/x-ndjson", "application/jsonl", "application/sql", "application/x-sh",
		"application/graphql", "application/x-tex", "application/x-httpd-php":
		return true
	}
	return false
}

// decodedText turns a body into UTF-8, and says which character set it took it
// for. What the response and the page say counts unless the bytes show that it
// cannot be true.
func decodedText(data []byte, contentType, set string, html bool) (text, used string) {
	if e, name := declared(data, contentType, set, html); e != nil && name != "utf-8" {
		// UTF-8 that is called otherwise: what is valid as it is never anything else.
		if !utf8.Valid(data) || !isASCIIBased(name) || !hasHighBytes(data) {
			return decodeWith(e, data), name
		}
	}
	if data := bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")); validButTail(data) {
		return strings.ToValidUTF8(string(data), "\ufffd"), "utf-8"
	}
	return guessed(data, html)
}

// declared is the set that the bytes begin with the mark of, or that the response
// or the page names.
func declared(data []byte, contentType, set string, html bool) (encoding.Encoding, string) {
	if !hasBOM(data) && (set != "" || !html) {
		return charset.Lookup(set)
	}
	e, name, certain := charset.DetermineEncoding(data, contentType)
	if !certain && name == "windows-1252" && !bytes.Contains(bytes.ToLower(data[:min(len(data), 1024)]), []byte("charset")) {
		return nil, "" // its last resort, which is not ours
	}
	return e, name
}

// guessed finds the set that the bytes look like and that leaves none of them
// without a meaning.
func guessed(data []byte, html bool) (text, used string) {
	detector := chardet.NewTextDetector()
	if html {
		detector = chardet.NewHtmlDetector()
	}
	guesses, _ := detector.DetectAll(data[:min(len(data), 64<<10)]) // an error is no guess
	for _, g := range guesses {
		if e, name := charset.Lookup(g.Charset); e != nil && name != "utf-8" {
			if text := decodeWith(e, data); !strings.Contains(text, "\ufffd") {
				return text, name
			}
		}
	}
	e, name := charset.Lookup("windows-1252")
	return decodeWith(e, data), name
}

func decodeWith(e encoding.Encoding, data []byte) string {
	out, err := e.NewDecoder().Bytes(data)
	if err != nil { // decoders of this module replace what is not valid, so: no such data
		out = data
	}
	return strings.ToValidUTF8(strings.TrimPrefix(string(out), "\ufeff"), "\ufffd")
}

func hasBOM(data []byte) bool {
	return bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) || bytes.HasPrefix(data, []byte("\xef\xbb\xbf"))
}

func hasHighBytes(data []byte) bool {
	return bytes.ContainsFunc(data, func(r rune) bool { return r >= 0x80 })
}

// isASCIIBased says that text in the set, read as UTF-8, could be told apart:
// every set but those of two bytes a character, and ISO-2022-JP, which is ASCII.
func isASCIIBased(name string) bool {
	return !strings.HasPrefix(name, "utf-16") && name != "iso-2022-jp"
}

// validButTail says that data is UTF-8, but for a character that was cut at the end.
func validButTail(data []byte) bool {
	for cut := 0; cut < utf8.UTFMax && cut <= len(data); cut++ {
		if utf8.Valid(data[:len(data)-cut]) {
			return true
		}
	}
	return false
}
