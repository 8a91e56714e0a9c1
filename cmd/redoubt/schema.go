package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

func schemaCommand() *cobra.Command {
	var into string
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := schema(into)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(out)
			return err
		},
	}
	cmd.Flags().StringVar(&into, "into", "", "print cloud-init's schema `FILE` with the redoubt: key added")
	return cmd
}

func schema(into string) ([]byte, error) {
	if into == "" {
		return config.Schema()
	}
	cloud, err := os.ReadFile(into)
	if err != nil {
		return nil, fmt.Errorf("cannot read cloud-init's schema: %w", err)
	}
	out, err := config.SchemaInto(cloud)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", into, err)
	}
	return out, nil
}
