package router

import (
	"errors"
	"fmt"
	"time"

	"hearth/inference"
)

// What can go wrong before a tool runs. inference.Classify has the statuses.
var (
	// ErrNoTool says that there is no tool of that name, or none that the caller may
	// know of: the two look the same.
	ErrNoTool = fmt.Errorf("no such tool: %w", inference.ErrToolNotFound)
	// ErrUnavailable says that the connector failed too often lately, or is gone.
	ErrUnavailable = fmt.Errorf("the connector does not work: %w", inference.ErrUnavailable)
	// ErrNoResource says that there is no resource of that URI.
	ErrNoResource = errors.New("no such resource")
)

// ApprovalError says that a call waits for a person's approval. Nothing was done.
type ApprovalError struct {
	ID   string // of the approval
	Tool string
	// Why is the rule that asks.
	Why string
	// Until is when the approval is forgotten.
	Until time.Time
}

func (e *ApprovalError) Error() string {
	return fmt.Sprintf("%s needs a person's approval (%s). Nothing was done. The request is %s: it can be answered until %s, by `hearth approvals approve %s`, and the very same call then goes through once",
		e.Tool, e.Why, e.ID, e.Until.UTC().Format(time.RFC3339), e.ID)
}

// Unwrap makes errors.Is(err, inference.ErrApproval) true.
func (e *ApprovalError) Unwrap() error { return inference.ErrApproval }
