// Package storage is a room: it holds the packages that know where images lie,
// whether that place is well, and how images are moved and checked.
//
// What belongs here: the client of buckets, the storage driver of distribution,
// the layout of a registry, the graded health of a storage, and what walks over a
// whole storage. It serves no HTTP, and imports nothing of the other rooms.
//
// Begin with layout (what lies where), then driver (how a bucket is a storage),
// then health (what a storage is good for).
package storage
