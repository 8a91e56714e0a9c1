// Package access is a room: it holds the packages that decide who may use the
// registry, and how much of it.
//
// What belongs here: users and their passwords, client certificates, and bounds
// on what strangers cost. It imports certificates, and nothing of storage.
//
// Begin with users.
package access
