package robot

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"
)

const (
	// Prefix begins every token, so that scanners for secrets find one that was published.
	Prefix = "rdt_"

	randomSize   = 30 // characters to the base of 62: 178 bits
	checksumSize = 6  // of a CRC-32
)

// NewText makes a token: the prefix, random characters, and their checksum, by which a
// scanner knows a real one without asking.
func NewText() string {
	bound := new(big.Int).Exp(big.NewInt(62), big.NewInt(randomSize), nil)
	n, err := rand.Int(rand.Reader, bound)
	if err != nil {
		panic(err) // crypto/rand ends the process instead
	}
	random := base62(n, randomSize)
	return Prefix + random + checksum(random)
}

var form = regexp.MustCompile(`^` + Prefix + `[0-9A-Za-z]{36}$`)

// Looks says whether a text has the form of a token, with a right checksum or a wrong one.
func Looks(text string) bool {
	return len(text) == len(Prefix)+randomSize+checksumSize && form.MatchString(text)
}

// IsText says whether a text can be a token: a typing error shows without a look at any list.
func IsText(text string) bool {
	if !Looks(text) {
		return false
	}
	random, sum := text[len(Prefix):len(Prefix)+randomSize], text[len(Prefix)+randomSize:]
	return checksum(random) == sum
}

func checksum(random string) string {
	return base62(new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(random)))), checksumSize)
}

// base62 writes a number with the digits 0-9A-Za-z. Package big's are 0-9a-zA-Z.
func base62(n *big.Int, size int) string {
	text := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, n.Text(62))
	return strings.Repeat("0", max(0, size-len(text))) + text
}

const hashPrefix = "sha256:"

// Hash is a token as it is kept, in the words of auth.robots: sha256: and the hexadecimal
// digits that sha256sum prints. A token is random enough to need no slow hash.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hashPrefix + hex.EncodeToString(sum[:])
}

var hashForm = regexp.MustCompile(`^` + hashPrefix + `[0-9a-f]{64}$`)

// HashProblem says what is wrong with a hash, without repeating it; empty: nothing.
func HashProblem(hash string) string {
	switch {
	case hash == "":
		return "required: the hash that redoubt token create --hash prints"
	case strings.HasPrefix(hash, Prefix):
		return "must be the token's hash, not the token, which whoever reads this could use: revoke it, and take the hash that redoubt token create --hash prints of another one"
	case !hashForm.MatchString(hash):
		return "must be sha256: and 64 hexadecimal digits, as redoubt token create --hash prints them"
	}
	return ""
}
