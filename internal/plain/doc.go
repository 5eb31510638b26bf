// Package plain takes out of the text of strangers what its reader would not see,
// before a model reads it.
//
// Concurrency: functions have no state.
package plain
