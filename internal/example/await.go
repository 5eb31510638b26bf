package example

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"hearth/internal/subject"
)

// startup is how long connectors may take to say what they offer.
const startup = 2 * time.Minute

// await returns when each of these connectors offers a tool.
func await(ctx context.Context, server *subject.Server, connectors []string) error {
	ctx, cancel := context.WithTimeout(ctx, startup)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		there, err := offering(ctx, server)
		if err != nil {
			return err
		}
		missing := slices.DeleteFunc(slices.Clone(connectors), func(c string) bool { return there[c] })
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the connectors %q offer no tools: %w", missing, context.Cause(ctx))
		}
	}
}

func offering(ctx context.Context, server *subject.Server) (map[string]bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/tools", nil)
	if err != nil {
		return nil, fmt.Errorf("list the tools: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("list the tools: %w", err)
	}
	defer resp.Body.Close()
	var list struct {
		Tools []struct{ Connector string } `json:"tools"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return nil, fmt.Errorf("list the tools: %w", err)
	}
	out := map[string]bool{}
	for _, t := range list.Tools {
		out[t.Connector] = true
	}
	return out, nil
}
