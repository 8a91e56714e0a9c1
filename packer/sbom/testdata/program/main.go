// Command program is built from a module that the test looks for.
package main

import "golang.org/x/sys/unix"

func main() { unix.Sync() }
