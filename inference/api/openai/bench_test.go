package openai

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"hearth/inference"
)

// tokenStream says n words, one at a time: a reader that only looks whether
// another is ready finds none, as with a model that has just sampled.
type tokenStream struct {
	n    int
	turn bool
}

func (s *tokenStream) Next(ctx context.Context) (inference.Event, error) {
	if s.turn = !s.turn; !s.turn {
		<-ctx.Done()
		return inference.Event{}, ctx.Err()
	}
	if s.n == 0 {
		return inference.Event{}, io.EOF
	}
	s.n--
	return inference.Event{Kind: inference.EventDelta, Content: " word"}, nil
}

func (*tokenStream) Close() error { return nil }

// nowhere is a connection that takes everything and has deadlines.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header              { return n.header }
func (*nowhere) Write(p []byte) (int, error)        { return len(p), nil }
func (*nowhere) WriteHeader(int)                    {}
func (*nowhere) FlushError() error                  { return nil }
func (*nowhere) SetWriteDeadline(_ time.Time) error { return nil }

// BenchmarkStream measures what one token of a stream costs, from the event to
// the write on the connection: an op is a token.
func BenchmarkStream(b *testing.B) {
	head := chatHead{ID: "chatcmpl-1", Object: "chat.completion.chunk", Created: 1700000001, Model: "small", Fingerprint: "fp_1"}
	for name, c := range map[string]chunker{
		"chat": &chatChunker{head: head, usage: true, started: make([]bool, 1)},
		"text": &textChunker{head: head, usage: true, offset: make([]int, 1)},
	} {
		b.Run(name, func(b *testing.B) {
			a, err := New(Config{Models: &fakeModels{}})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			e := newEventWriter(&nowhere{header: http.Header{}}, time.Second)
			b.ReportAllocs()
			b.ResetTimer()
			if err := a.pump(ctx, e, &tokenStream{n: b.N}, c); err != nil {
				b.Fatal(err)
			}
		})
	}
}
