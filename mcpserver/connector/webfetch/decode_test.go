package webfetch

import (
	"strings"
	"testing"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
)

func TestCharacterSets(t *testing.T) {
	const (
		german   = "Straße, Käse und Übermut: fünf Größen für Ämter über Flüsse."
		russian  = "Съешь же ещё этих мягких французских булок, да выпей чаю. Широкая электрификация южных губерний."
		japan    = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所でニャーニャー泣いていた事だけは記憶している。"
		chinese  = "北京是中华人民共和国的首都,也是全国的政治中心、文化中心和国际交往中心。人口超过两千万。"
		corean   = "모든 국민은 인간으로서의 존엄과 가치를 가지며, 행복을 추구할 권리를 가진다. 국가는 개인이 가지는 기본적 인권을 확인한다."
		currency = "The price is 5 €, “quoted” – really…"
	)
	tests := []struct {
		name   string
		text   string
		as     encoding.Encoding
		header string
		meta   string
	}{
		{"UTF-8 declared", german, nil, "text/html; charset=utf-8", ""},
		{"UTF-8 undeclared", russian, nil, "text/html", ""},
		{"UTF-8 called Latin-1", german, nil, "text/html; charset=iso-8859-1", ""},
		{"UTF-8 called Latin-1 by the page", japan, nil, "text/html", `<meta charset="iso-8859-1">`},
		{"UTF-8 called Shift_JIS", german, nil, "text/html; charset=shift_jis", ""},
		{"UTF-8 with a mark", german, unicode.UTF8BOM, "text/html", ""},
		{"UTF-16 LE", german, unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), "text/html", ""},
		{"UTF-16 BE", japan, unicode.UTF16(unicode.BigEndian, unicode.UseBOM), "text/html", ""},
		{"UTF-16 called UTF-8", russian, unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), "text/html; charset=utf-8", ""},
		{"Windows-1252 in the header", currency, charmap.Windows1252, "text/html; charset=windows-1252", ""},
		{"Windows-1252 called Latin-1", currency, charmap.Windows1252, "text/html; charset=ISO-8859-1", ""},
		{"Latin-1 undeclared", german, charmap.ISO8859_1, "text/html", ""},
		{"Latin-1 called UTF-8", german, charmap.ISO8859_1, "text/html; charset=utf-8", ""},
		{"Latin-9 in the page", "Œuvre à 5 €", charmap.ISO8859_15, "text/html", `<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-15">`},
		{"Windows-1251 in the page", russian, charmap.Windows1251, "text/html", `<meta charset=windows-1251>`},
		{"Windows-1251 undeclared", russian, charmap.Windows1251, "text/plain", ""},
		{"KOI8-R called UTF-8", russian, charmap.KOI8R, "text/html; charset=utf-8", ""},
		{"Shift_JIS in the header", japan, japanese.ShiftJIS, "text/html; charset=Shift_JIS", ""},
		{"Shift_JIS undeclared", japan, japanese.ShiftJIS, "text/html", ""},
		{"EUC-JP in the page", japan, japanese.EUCJP, "text/html", `<meta charset="euc-jp">`},
		{"ISO-2022-JP in the header", japan, japanese.ISO2022JP, "text/html; charset=iso-2022-jp", ""},
		{"GB18030 in the page", chinese, simplifiedchinese.GB18030, "text/html", `<meta charset="gb2312">`},
		{"EUC-KR undeclared", corean, korean.EUCKR, "text/html", ""},
		{"a set that there is not, UTF-8", german, nil, "text/html; charset=none", ""},
		{"a set that there is not, Latin-1", german, charmap.ISO8859_1, "text/html; charset=none", ""},
	}
	for _, tt := range tests {
		source := tt.meta + "<p>" + tt.text + "</p>"
		data := []byte(source)
		if tt.as != nil {
			var err error
			if data, err = tt.as.NewEncoder().Bytes(data); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
		}
		kind, set := mediaType(tt.header, data)
		if got, used := decodedText(data, tt.header, set, isHTML(kind)); got != source {
			t.Errorf("%s: read as %s: %.100q", tt.name, used, got)
		}
	}
}

func TestATextThatIsCutInACharacter(t *testing.T) {
	data := []byte(strings.Repeat("日本語", 50))
	for cut := range 3 {
		got, used := decodedText(data[:len(data)-cut], "text/plain", "", false)
		if used != "utf-8" || !strings.HasPrefix(got, "日本語日本語") {
			t.Errorf("%d bytes cut off: %s, %.40q", cut, used, got)
		}
	}
}
