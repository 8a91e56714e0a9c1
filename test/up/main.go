// Command up starts and stops the machine of `make up` and `make down`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := readSettings(os.Getenv)
	if err == nil {
		switch verb := append(os.Args, "")[1]; verb {
		case "up":
			err = up(ctx, os.Stdout, s)
		case "down":
			err = down(ctx, os.Stdout, s)
		default:
			err = fmt.Errorf("cannot %q: the verbs are up and down", verb)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "redoubt:", err)
		os.Exit(1)
	}
}
