package main

import "github.com/spf13/cobra"

// rootCommand is the program with all its verbs.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "redoubt",
		Short:         "A private container registry that is launched, not installed",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(commands()...)
	return root
}

// commands are the verbs, each in a file of its own.
func commands() []*cobra.Command {
	return []*cobra.Command{
		validateCommand(),
		importCommand(),
		schemaCommand(),
		showCommand(),
		serveCommand(),
		renderCommand(),
		applyCommand(),
		confirmCommand(),
		doctorCommand(),
		historyCommand(),
		supportCommand(),
		rollbackCommand(),
		renewCommand(),
		statusCommand(),
		healthCommand(),
		caCommand(),
		alertCommand(),
		storageCommand(),
		gcCommand(),
		trashCommand(),
		retentionCommand(),
		imagesCommand(),
		backupCommand(),
		restoreCommand(),
		credentialsCommand(),
		metricsCommand(),
		authCommand(),
		hashCommand(),
		userCommand(),
		tokenCommand(),
	}
}
