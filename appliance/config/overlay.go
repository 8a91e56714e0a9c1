package config

func overlay(merged *value, report *Report) {}

type storageOptions struct{}
