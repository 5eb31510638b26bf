// Package config reads Hearth's one configuration file: it finds it, decodes it
// strictly, and points every error at the line and column that caused it.
//
// It owns the rules of the file's form: one YAML document, no unknown key, no
// key twice, sizes ("512MiB") and durations ("30s") with a unit. It knows no
// section: the packages that use a section own its type and its bounds, and
// report a value they cannot use as a [FieldError].
//
// Concurrency: functions have no state and are safe for concurrent use.
package config
