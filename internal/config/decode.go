package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxBytes bounds a configuration file.
const MaxBytes = 1 << 20

// FieldError says which value of a configuration cannot be used, and why.
type FieldError struct {
	// Path names the value as YAML paths do, without the root: "server.listen[0]".
	Path string
	// Reason names the bound and the remedy.
	Reason string
}

func (e *FieldError) Error() string { return e.Path + ": " + e.Reason }

// Invalid returns a *FieldError.
func Invalid(path, format string, args ...any) error {
	return &FieldError{Path: path, Reason: fmt.Sprintf(format, args...)}
}

// Under puts section in front of the path of every *FieldError in err, so that
// a section can report its own fields without knowing where it lies.
func Under(section string, err error) error {
	var f *FieldError
	if !errors.As(err, &f) {
		return err
	}
	if strings.HasPrefix(f.Path, "[") { // an entry of a section that is a list
		return &FieldError{Path: section + f.Path, Reason: f.Reason}
	}
	return &FieldError{Path: section + "." + f.Path, Reason: f.Reason}
}

// Error is what is wrong with a file, ready to be shown: file, line, column,
// the reason, and the line itself with a caret.
type Error struct {
	File   string
	Line   int // 1 is the first; 0 if the error has no place
	Column int
	Reason string
	Source string // lines around the place with a caret; may be empty
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": " + e.Reason)
	if e.Source != "" {
		b.WriteString("\n" + strings.TrimRight(e.Source, "\n"))
	}
	return b.String()
}

// Decode reads the one YAML document in data into v, which holds the defaults
// for what the document does not say. name is used in errors only.
func Decode(name string, data []byte, v any) (err error) {
	// The library panics on some odd documents (a tag in front of a value of
	// another type). The file is the operator's, so its reload must not end the
	// server.
	defer func() {
		if r := recover(); r != nil {
			err = &Error{File: name, Reason: fmt.Sprintf("the file cannot be read as YAML (%v): write plain keys and values, without tags", r)}
		}
	}()
	if len(data) > MaxBytes {
		return &Error{File: name, Reason: fmt.Sprintf("the file has %d bytes, at most %d are read", len(data), MaxBytes)}
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return placed(name, err)
	}
	var doc ast.Node
	for _, d := range file.Docs {
		switch {
		case d.Body == nil || d.Body.Type() == ast.CommentType:
		case doc != nil:
			return &Error{File: name, Reason: "the file holds more than one YAML document (a line of ---), only one is read"}
		default:
			doc = d.Body
		}
	}
	if doc == nil || doc.Type() == ast.NullType {
		return nil
	}
	dropNulls(doc)
	if err := yaml.NewDecoder(strings.NewReader(""), yaml.Strict()).DecodeFromNode(doc, v); err != nil {
		return placed(name, err)
	}
	return nil
}

// dropNulls removes the keys that have no value, so that a section of which all
// lines are comments means its defaults instead of zeroes.
func dropNulls(n ast.Node) {
	switch n := n.(type) {
	case *ast.MappingNode:
		n.Values = slices.DeleteFunc(n.Values, func(v *ast.MappingValueNode) bool {
			return v.Value == nil || v.Value.Type() == ast.NullType
		})
		for _, v := range n.Values {
			dropNulls(v.Value)
		}
	case *ast.SequenceNode:
		for _, v := range n.Values {
			dropNulls(v)
		}
	}
}

// placed turns an error of the YAML library into ours.
func placed(name string, err error) error {
	out := &Error{File: name, Reason: err.Error()}
	var y yaml.Error
	if !errors.As(err, &y) {
		return out
	}
	out.Reason = y.GetMessage()
	var wrong *yaml.TypeError
	if errors.As(err, &wrong) {
		out.Reason = "expected " + describe(wrong.DstType)
	}
	if tok := y.GetToken(); tok != nil && tok.Position != nil {
		out.Line, out.Column = tok.Position.Line, tok.Position.Column
		// The library writes "[line:column] reason" and then the source.
		if _, source, found := strings.Cut(y.FormatError(false, true), "\n"); found {
			out.Source = source
		}
	}
	return out
}

// describe says in words what a field of that type is written as.
func describe(t reflect.Type) string {
	if t == reflect.TypeFor[time.Duration]() {
		return "a duration with a unit, such as 30s or 5m"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return describe(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a section of keys and values"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "a whole number"
	}
}

// Locate turns a *FieldError in err into an *Error that shows the value in the
// file. Where the file does not hold the value (a default, a flag), the error
// stays without a place.
func Locate(name string, data []byte, err error) error {
	var f *FieldError
	if !errors.As(err, &f) {
		return err
	}
	out := &Error{File: name, Reason: f.Error()}
	node := find(data, f.Path)
	if node == nil {
		return out
	}
	pos := node.GetToken().Position
	out.Line, out.Column = pos.Line, pos.Column
	if p, err := yaml.PathString("$." + f.Path); err == nil {
		if source, err := p.AnnotateSource(data, false); err == nil {
			out.Source = string(source)
		}
	}
	return out
}

func find(data []byte, path string) (node ast.Node) {
	p, err := yaml.PathString("$." + path)
	if err != nil {
		return nil
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil
	}
	node, err = p.FilterFile(file)
	if err != nil || node == nil || node.GetToken() == nil {
		return nil
	}
	return node
}
