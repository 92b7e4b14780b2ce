// SPDX-License-Identifier: Apache-2.0
package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
)

// HPKE (RFC 9180) in mode base with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM, one message: what guest/seal.ts
// makes. The attacker is the host, through whose hands every box goes; what it changed or made for another launch or another
// use does not open, and the answer does not say why.
const (
	encapsulatedBytes = 32
	boxTagBytes       = 16
)

var (
	kemSuite  = []byte{'K', 'E', 'M', 0x00, 0x20}
	hpkeSuite = []byte{'H', 'P', 'K', 'E', 0x00, 0x20, 0x00, 0x01, 0x00, 0x02}
)

// openBox opens what was sealed to this boot's key. kind is `secrets` or `env`, launch the SHA-256 of the launch manifest.
func (i *identity) openBox(kind string, launch [32]byte, box []byte) ([]byte, error) {
	return openSealed(i.sealing, append([]byte("casemate "+kind+" v1\n"), launch[:]...), box)
}

func openSealed(key *ecdh.PrivateKey, info, box []byte) ([]byte, error) {
	refused := refusal{"secrets-refused", "the box was not sealed to this machine's key for this launch"}
	if len(box) < encapsulatedBytes+boxTagBytes {
		return nil, refused
	}
	encapsulated := box[:encapsulatedBytes]
	sender, err := ecdh.X25519().NewPublicKey(encapsulated)
	if err != nil {
		return nil, refused
	}
	// Refuses a key of low order, with which anyone would know the result.
	shared, err := key.ECDH(sender)
	if err != nil {
		return nil, refused
	}
	context := append(append([]byte{}, encapsulated...), key.PublicKey().Bytes()...)
	secret, err := labeledExpand(kemSuite, labeledExtract(kemSuite, nil, "eae_prk", shared), "shared_secret", context, 32)
	if err != nil {
		return nil, err
	}
	schedule := append([]byte{0}, labeledExtract(hpkeSuite, nil, "psk_id_hash", nil)...)
	schedule = append(schedule, labeledExtract(hpkeSuite, nil, "info_hash", info)...)
	root := labeledExtract(hpkeSuite, secret, "secret", nil)
	sealedWith, err := labeledExpand(hpkeSuite, root, "key", schedule, 32)
	if err != nil {
		return nil, err
	}
	nonce, err := labeledExpand(hpkeSuite, root, "base_nonce", schedule, 12)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(sealedWith)
	if err != nil {
		return nil, err
	}
	opener, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	opened, err := opener.Open(nil, nonce, box[encapsulatedBytes:], nil)
	if err != nil {
		return nil, refused
	}
	return opened, nil
}

func labeledExtract(suite, salt []byte, label string, input []byte) []byte {
	labeled := append(append([]byte("HPKE-v1"), suite...), label...)
	extracted, err := hkdf.Extract(sha256.New, append(labeled, input...), salt)
	if err != nil {
		panic(err) // only a module in another mode than ours refuses a length
	}
	return extracted
}

func labeledExpand(suite, key []byte, label string, info []byte, length int) ([]byte, error) {
	labeled := binary.BigEndian.AppendUint16(nil, uint16(length))
	labeled = append(append(append(labeled, "HPKE-v1"...), suite...), label...)
	return hkdf.Expand(sha256.New, key, string(append(labeled, info...)), length)
}
