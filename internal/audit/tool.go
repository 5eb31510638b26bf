package audit

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"time"

	"github.com/rs/zerolog"
)

// ToolRecord is one call of a tool. It is written twice: before the tool runs, and
// when it has.
type ToolRecord struct {
	Call       string // id of the call, in both records
	RequestID  string
	Principal  string
	Tenant     string
	Via        string // the door
	Tool       string
	Definition string // hash of the tool's definition
	// Arguments are the canonical arguments, or a digest of them. Only an HMAC of
	// them is written, by the key beside the file: the same call can be found again,
	// and who reads the file alone cannot try out what was asked.
	Arguments string
	Rule      string // what let the call through
	Approval  string // that was used; empty: none

	// Of the second record:
	Outcome     string
	Cached      bool
	ResultBytes int
	Withheld    bool // structured content was left out: redacted, it breaks the tool's schema
	Duration    time.Duration
}

// ToolIntent records that a tool is about to run. Where records go to a file and
// Config.Durable is set, it returns when the record is on the disk; an error says
// that it is not, and the tool must not run.
func (s *LogSink) ToolIntent(ctx context.Context, r *ToolRecord) error {
	if s.journal == nil || !s.durable {
		s.tool(s.log.Log(), r).Msg("tool_intent")
		return nil
	}
	line := durableLine{journal: s.journal}
	log := zerolog.New(&line)
	s.tool(log.Log().Timestamp(), r).Msg("tool_intent")
	if line.err != nil {
		return line.err
	}
	return line.group.wait(ctx)
}

// ToolOutcome records how a call ended, also one that did not run.
func (s *LogSink) ToolOutcome(r *ToolRecord) {
	e := s.tool(s.log.Log(), r).Str("outcome", r.Outcome).Bool("cached", r.Cached).Int("result_bytes", r.ResultBytes)
	if r.Withheld {
		e = e.Bool("withheld", true)
	}
	e.Dur("duration_ms", r.Duration).Msg("tool_outcome")
}

func (s *LogSink) tool(e *zerolog.Event, r *ToolRecord) *zerolog.Event {
	mac, _ := s.macs.Get().(hash.Hash)
	if mac == nil {
		mac = hmac.New(sha256.New, s.key)
	}
	mac.Reset() // keeps what it made of the key
	mac.Write([]byte(r.Arguments))
	sum := hex.EncodeToString(mac.Sum(nil))
	s.macs.Put(mac)
	e = e.Str("call", r.Call).Str("request_id", r.RequestID).Str("principal", r.Principal).Str("tenant", r.Tenant).
		Str("via", r.Via).Str("action", "tool").Str("tool", r.Tool).Str("definition", r.Definition).
		Str("arguments_hmac", sum).Str("rule", r.Rule)
	if r.Approval != "" {
		e = e.Str("approval", r.Approval)
	}
	return e
}

// durableLine takes over one line.
type durableLine struct {
	journal *journal
	group   *group // who wait for it
	err     error
}

func (w *durableLine) Write(p []byte) (int, error) {
	w.group, w.err = w.journal.add(p, true)
	return len(p), nil
}

// keyBytes is the length of the key that arguments are hashed with.
const keyBytes = 32

// loadKey reads the key in path, or makes one. An empty path makes one for this
// process alone.
func loadKey(path string) ([]byte, error) {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails
	if path == "" {
		return key, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the key of the audit file: %w", err)
		}
		if len(data) != keyBytes {
			return nil, fmt.Errorf("the key of the audit file, %s, has %d bytes instead of %d: restore it, or remove it to have a new one made", path, len(data), keyBytes)
		}
		return data, nil
	}
	if err != nil {
		return nil, fmt.Errorf("make a key for the audit file: %w", err)
	}
	_, err = f.Write(key)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		_ = os.Remove(path)
		return nil, fmt.Errorf("make a key for the audit file: %w", err)
	}
	return key, nil
}
