// Package files is a connector for folders of this machine: it lists, reads,
// searches, and, where a folder's configuration says so, writes, moves and
// deletes files.
//
// A folder is opened once as an os.Root, and everything is reached from there:
// no path, symbolic link or change of the tree during a call leads out of it.
// Beyond that, a path of a client
//
//   - has no "..", no NUL and no name longer than a file system takes;
//   - is followed link by link to the place it stands for, and that place, too,
//     must not be hidden or on the list of what is withheld (keys, passwords);
//   - is opened without waiting, and is read only if it then is a regular file of
//     a file system that stores files: a pipe, a device, a socket or a file of
//     /proc is refused, whatever it was a moment ago.
//
// What is written replaces a file in one step (a file beside it, renamed), so a
// hard link's other names keep the old contents.
//
// # Concurrency
//
// A Connector is safe for concurrent use. Calls that change files take turns;
// others do not wait. One goroutine looks at changes while there is a watcher.
package files
