// Package certificates is a room: it holds the packages that say who the machine
// is to clients, and who clients are to the machine.
//
// What belongs here: X.509, the machine's own authority, ACME, renewal and the
// authority of client certificates. It imports storage/sharedstate, where
// several machines keep one certificate, and nothing of configuration, registry,
// access or system. cert and renewal are pure but for cert's files.
//
// Begin with renewal (when a certificate is renewed, and why), then cert.
package certificates
