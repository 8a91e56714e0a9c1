// Package system is a room: it holds the packages for what a machine does for years
// besides serving, such as reporting its state.
//
// What belongs here: values and decisions about the machine as a whole; the root
// package gathers what they are made of. It may import all rooms but registry and
// access.
//
// Begin with status.
package system
