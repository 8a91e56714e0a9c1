package config

import (
	"fmt"
	"strings"
	"testing"
)

// largeDocument has as many values as are read.
func largeDocument(kind string) []byte {
	var b strings.Builder
	b.WriteString("#cloud-config\nredoubt:\n  hostname: registry.example.com\n")
	switch kind {
	case "users":
		b.WriteString("  auth:\n    users:\n")
		for i := range 3800 {
			fmt.Fprintf(&b, "      - {name: user%d, passwordHash: $2y$10$46fuOnZ0yhU7zoCppGvza.nofj4NOpWKMNvUtY5E2ICLu9wRj7g9S}\n", i)
		}
	case "acl":
		b.WriteString("  auth:\n    acl:\n")
		for i := range 1600 {
			fmt.Fprintf(&b, "      - {users: [user%d], repositories: [\"team%d/**\"], actions: [pull, push]}\n", i, i)
		}
	case "aliases":
		b.WriteString("  aliases:\n")
		for i := range 19900 {
			fmt.Fprintf(&b, "    - r%d.example.com\n", i)
		}
	case "mistakes":
		b.WriteString("  auth:\n    users:\n")
		for i := range 3000 {
			fmt.Fprintf(&b, "      - {name: user%d, pasword: secretvalue}\n", i)
		}
	case "environment":
		b.WriteString("  environment:\n")
		for i := range 3800 {
			fmt.Fprintf(&b, "      - {name: REGISTRY_HTTP_HEADERS_X%d, value: \"[a]\"}\n", i)
		}
	case "fields":
		b.WriteString("  log:\n    fields:\n")
		for i := range 3800 {
			fmt.Fprintf(&b, "      - {name: f%d, value: v}\n", i)
		}
	}
	return []byte(b.String())
}

// A large document takes time in proportion to its size.
func BenchmarkLargeDocument(b *testing.B) {
	for _, kind := range []string{"users", "acl", "aliases", "mistakes", "environment", "fields"} {
		data := largeDocument(kind)
		b.Run(kind, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				Parse([]Layer{{Name: "user-data", Data: data}})
			}
		})
	}
}
