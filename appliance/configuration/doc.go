// Package configuration is a room: it holds the packages that turn the bytes a
// machine was given into the files and units that carry them out.
//
// What belongs here: whatever stands on the way bytes → files → plan → disk →
// units. It imports certificates, and nothing of storage, registry, access or
// system. config, render, tree and plan are pure: no network, no D-Bus, no other
// program.
//
// Begin with config (the keys), then render (what each key writes), then plan
// (what a change does).
package configuration
