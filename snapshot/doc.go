// Package snapshot keeps copies of the state off the node: backups in a destination
// (a [blob.Store]) and single files. It does not know what state it carries: the
// state is a stream of bytes that somebody writes and somebody else reads.
//
// # Backups
//
// [Backups] are the backups of one cluster. A backup is a manifest and the sealed
// files that it names; it exists when its manifest exists, which is written last
// and never changed. What is said of it later, a hold or the result of a check, is
// an object of its own beside it. Every error that means that a backup cannot be
// restored is of kind Integrity and names the object.
//
// # Files
//
// A snapshot file is one backup in one file, with a description in front and a
// trailer behind. It gets its name when it is whole and has verified; a file that
// was cut or changed never verifies.
//
// Who takes backups, and when, is the business of server/archive; restores and
// drills are in snapshot/recovery.
package snapshot
