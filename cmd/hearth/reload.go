package main

import (
	"context"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"hearth/internal/telemetry"
)

// configFile is the configuration file as it was last taken, without flags.
type configFile struct {
	path string // empty: there is none
	said Config
}

// reloadOnHangup reads the configuration again at each SIGHUP until ctx ends;
// the returned function waits for that.
func (a *app) reloadOnHangup(ctx context.Context, file configFile) (wait func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer signal.Stop(hangups)
		for {
			select {
			case <-hangups:
				a.reload(ctx, &file)
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { <-done }
}

// reload takes what can be swapped from what the file says now, and has the
// connectors ask again for what they offer. A file that cannot be used changes
// nothing.
func (a *app) reload(ctx context.Context, file *configFile) {
	if file.path == "" {
		a.log.Warn().Msg("SIGHUP: the server was started without a configuration file")
		return
	}
	next, _, err := loadConfig(file.path)
	if err != nil {
		a.metrics.ConfigLoaded(false)
		a.log.Error().Err(err).Msg("SIGHUP: the configuration was refused, everything stays as it was")
		return
	}
	a.http.Allow(next.Server.AllowedHosts, next.Server.AllowedOrigins)
	if next.Telemetry.LogLevel != file.said.Telemetry.LogLevel {
		telemetry.SetLevel(next.Telemetry) // else a flag's level stays
	}
	a.metrics.ConfigLoaded(true)
	rest := needRestart(file.said, next)
	file.said.Server.AllowedHosts, file.said.Server.AllowedOrigins = next.Server.AllowedHosts, next.Server.AllowedOrigins
	file.said.Telemetry.LogLevel = next.Telemetry.LogLevel
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	if err := a.router.Refresh(ctx); err != nil {
		a.log.Warn().Err(err).Msg("SIGHUP: a connector offers what it did before")
	}
	level := zerolog.InfoLevel
	if len(rest) > 0 {
		level = zerolog.WarnLevel
	}
	a.log.WithLevel(level).Strs("needs_restart", rest).Msg("SIGHUP: took allowed_hosts, allowed_origins and log_level from the configuration")
}

// refreshTimeout bounds how long connectors may ask for what they offer.
const refreshTimeout = time.Minute

// needRestart names what differs and takes effect only at the next start.
func needRestart(was, next Config) []string {
	was.Server.AllowedHosts, was.Server.AllowedOrigins = next.Server.AllowedHosts, next.Server.AllowedOrigins
	was.Telemetry.LogLevel = next.Telemetry.LogLevel
	return differences("", reflect.ValueOf(was), reflect.ValueOf(next))
}

// differences names the values that differ as the file spells them. It goes
// into sections, not into lists and maps.
func differences(at string, a, b reflect.Value) []string {
	if a.Kind() != reflect.Struct {
		empty := (a.Kind() == reflect.Slice || a.Kind() == reflect.Map) && a.Len() == 0 && b.Len() == 0
		if empty || reflect.DeepEqual(a.Interface(), b.Interface()) {
			return nil
		}
		return []string{at}
	}
	all := []string{}
	for i := range a.NumField() {
		name, options, _ := strings.Cut(a.Type().Field(i).Tag.Get("yaml"), ",")
		below := at
		if options != "inline" {
			below = strings.TrimPrefix(at+"."+name, ".")
		}
		all = append(all, differences(below, a.Field(i), b.Field(i))...)
	}
	return all
}
