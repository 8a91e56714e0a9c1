package main

import "github.com/spf13/cobra"

// commands are the verbs, each in a file of its own.
func commands() []*cobra.Command {
	return []*cobra.Command{
		validateCommand(),
		schemaCommand(),
		showCommand(),
		serveCommand(),
		renderCommand(),
		applyCommand(),
		renewCommand(),
		statusCommand(),
		healthCommand(),
		caCommand(),
		alertCommand(),
		storageCommand(),
		credentialsCommand(),
	}
}
