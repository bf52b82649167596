package account

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"math/big"
	"strings"
)

// A key is rf_live_, then 256 random bits in base62, then the CRC-32 (IEEE) of
// all before it in base62: 57 characters. The checksum lets a scanner of leaked
// text, and this server, tell a mistyped or invented key without asking the
// ledger; it is no secret and protects nothing.
const (
	keyScheme   = "rf_live_"
	secretBytes = 32
	secretChars = 43 // 62^43 > 2^256
	sumChars    = 6  // 62^6 > 2^32
	shownChars  = len(keyScheme) + 4
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// MintKey makes a new API key. Only its hash is to be kept.
func MintKey() string {
	var secret [secretBytes]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand ends the program instead
	return keyOf(secret[:])
}

func keyOf(secret []byte) string {
	k := keyScheme + inBase62(new(big.Int).SetBytes(secret), secretChars)
	return k + keySum(k)
}

// keySum is the checksum of what comes before it in a key.
func keySum(body string) string {
	return inBase62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), sumChars)
}

// inBase62 writes a number of at most so many digits, with leading zeros.
func inBase62(n *big.Int, digits int) string {
	b := make([]byte, digits)
	radix, digit := big.NewInt(int64(len(base62))), new(big.Int)
	for i := digits - 1; i >= 0; i-- {
		n.DivMod(n, radix, digit)
		b[i] = base62[digit.Int64()]
	}
	return string(b)
}

// WellFormed tells whether a text can be a key at all.
func WellFormed(key string) bool {
	if len(key) != len(keyScheme)+secretChars+sumChars || !strings.HasPrefix(key, keyScheme) {
		return false
	}
	for i := len(keyScheme); i < len(key); i++ {
		if strings.IndexByte(base62, key[i]) < 0 {
			return false
		}
	}
	body := key[:len(key)-sumChars]
	return key[len(body):] == keySum(body)
}

// HashKey is what is kept of a key: its SHA-256. A key has 256 random bits, so
// that a hash made to be slow would protect it no better.
func HashKey(key string) [sha256.Size]byte { return sha256.Sum256([]byte(key)) }

// ShownKey is the part of a key that may be shown, so that its owner knows it
// from the others.
func ShownKey(key string) string { return key[:min(len(key), shownChars)] }
