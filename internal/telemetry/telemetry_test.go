package telemetry

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// scrape returns what a Prometheus server would read, by series.
func scrape(t *testing.T, m *Metrics) map[string]string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("GET /metrics: %d", w.Code)
	}
	series := map[string]string{}
	for line := range strings.Lines(w.Body.String()) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok {
			series[name+"}"] = value
		} else if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			series[name] = value
		}
	}
	return series
}

func TestMetrics(t *testing.T) {
	m := NewMetrics("v1.2.3")
	a := m.Model("a")
	a.Queued(3)
	a.Running(2)
	a.Step(8, 32, 40*time.Millisecond)
	a.Cells(100, 200, 50, 4096)
	a.FirstToken(90 * time.Millisecond)
	a.InterToken(500 * time.Microsecond)
	a.InterToken(90 * time.Second)
	a.Done("stop", 30, 20, 7, time.Second)
	a.Done("cancelled", 1, 0, 0, time.Second)
	m.Rejected("b", "queue_full")
	m.HTTP("POST", "/v1/chat/completions", 200, time.Second)
	m.ModelReady("a", true)
	m.ModelReady("b", false)
	m.ConfigLoaded(false)

	got := scrape(t, m)
	for series, want := range map[string]string{
		`hearth_requests_queued{model="a"}`:                                                 "3",
		`hearth_requests_running{model="a"}`:                                                "2",
		`hearth_step_batch_tokens_sum{kind="decode",model="a"}`:                             "8",
		`hearth_step_batch_tokens_sum{kind="prefill",model="a"}`:                            "32",
		`hearth_step_duration_seconds_bucket{model="a",le="0.05"}`:                          "1",
		`hearth_step_duration_seconds_bucket{model="a",le="0.03"}`:                          "0",
		`hearth_kv_cells{model="a",state="used"}`:                                           "100",
		`hearth_kv_cells{model="a",state="reserved"}`:                                       "200",
		`hearth_kv_cells{model="a",state="cached"}`:                                         "50",
		`hearth_kv_cells{model="a",state="total"}`:                                          "4096",
		`hearth_time_to_first_token_seconds_bucket{model="a",le="0.1"}`:                     "1",
		`hearth_inter_token_seconds_bucket{model="a",le="0.001"}`:                           "1",
		`hearth_inter_token_seconds_bucket{model="a",le="60"}`:                              "1",
		`hearth_inter_token_seconds_bucket{model="a",le="+Inf"}`:                            "2",
		`hearth_requests_total{model="a",outcome="stop"}`:                                   "1",
		`hearth_requests_total{model="a",outcome="cancelled"}`:                              "1",
		`hearth_prompt_tokens_total{model="a"}`:                                             "31",
		`hearth_prompt_cached_tokens_total{model="a"}`:                                      "20",
		`hearth_completion_tokens_total{model="a"}`:                                         "7",
		`hearth_requests_rejected_total{model="b",reason="queue_full"}`:                     "1",
		`hearth_http_requests_total{code="200",method="POST",route="/v1/chat/completions"}`: "1",
		`hearth_model_ready{model="a"}`:                                                     "1",
		`hearth_model_ready{model="b"}`:                                                     "0",
		`hearth_config_last_reload_successful`:                                              "0",
	} {
		if got[series] != want {
			t.Errorf("%s = %q, want %q", series, got[series], want)
		}
	}
	found := false
	for series := range got {
		found = found || strings.HasPrefix(series, "hearth_build_info{") && strings.Contains(series, `version="v1.2.3"`)
	}
	if !found {
		t.Error("no hearth_build_info with the version")
	}
}

func TestLoggerForms(t *testing.T) {
	t.Cleanup(func() { zerolog.SetGlobalLevel(zerolog.TraceLevel) })
	for _, c := range []struct {
		format   string
		terminal bool
		json     bool
	}{
		{"auto", false, true}, {"auto", true, false}, {"json", true, true}, {"console", false, false},
	} {
		var out bytes.Buffer
		log := NewLogger(Config{LogLevel: "info", LogFormat: c.format}, &out, c.terminal)
		log.Debug().Msg("quiet")
		log.Info().Str("k", "v").Msg("said")
		if strings.Contains(out.String(), "quiet") || !strings.Contains(out.String(), "said") {
			t.Errorf("%+v wrote %q", c, &out)
		}
		if json.Valid(out.Bytes()) != c.json {
			t.Errorf("%+v wrote %q", c, &out)
		}
		SetLevel(Config{LogLevel: "debug"})
		log.Debug().Msg("louder")
		if !strings.Contains(out.String(), "louder") {
			t.Errorf("%+v: SetLevel did not reach the log: %q", c, &out)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	if field, reason := DefaultConfig().Check(); field != "" {
		t.Errorf("the defaults are refused: %s: %s", field, reason)
	}
	for field, c := range map[string]Config{
		"log_level":  {LogLevel: "loud", LogFormat: "json"},
		"log_format": {LogLevel: "info", LogFormat: "xml"},
	} {
		if got, reason := c.Check(); got != field || !strings.Contains(reason, "use ") {
			t.Errorf("%+v: field %q, reason %q", c, got, reason)
		}
	}
}
