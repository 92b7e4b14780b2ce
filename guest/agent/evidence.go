// SPDX-License-Identifier: Apache-2.0
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

// attester makes evidence of this machine: of the processor where the kernel has a driver of a confidential one, else of a TPM,
// else none. Which it is, the guest does not choose and nobody has to believe: whoever judges knows what they asked for.
type attester struct {
	identity  *identity
	endorsers []string
	tsm       *tsmReports
	tpm       *tpm
	// Where the kernel shows the firmware's log.
	eventLog string
	turns    *evidenceTurns
	// nil until somebody can log in.
	login atomic.Pointer[login]
}

const (
	// With the rest in one line of the port.
	eventLogMax = 128 * 1024
	noncePublic = "nonce is 16 to 64 bytes in hex, and null only for a report"
)

type evidence struct {
	Platform   string         `json:"platform"`
	Bundle     map[string]any `json:"bundle"`
	ReportData string         `json:"reportData"`
}

// make: whoever asks for `seal` is about to send secrets, so it is never without a nonce of theirs.
func (t *attester) make(purpose string, nonceHex *string) (evidence, error) {
	var nonce []byte
	if nonceHex != nil {
		var err error
		nonce, err = hex.DecodeString(*nonceHex)
		if err != nil || len(nonce) < nonceBytesMin || len(nonce) > nonceBytesMax {
			return evidence{}, refusal{"malformed", noncePublic}
		}
	}
	known := purpose == purposeReport || purpose == purposeSeal || purpose == purposeLogin
	if !known || purpose != purposeReport && nonce == nil {
		return evidence{}, refusal{"malformed", noncePublic}
	}
	var data [64]byte
	if purpose == purposeLogin {
		login := t.login.Load()
		if login == nil {
			return evidence{}, refusal{"failed", "nobody can log in to this machine"}
		}
		data = login.reportData(nonce)
	} else {
		data = t.identity.reportData(purpose, nonce)
	}
	platform, bundle, err := t.tsm.evidence(data)
	if errors.Is(err, errNoTsm) {
		platform, bundle, err = t.tpmBundle(data)
	}
	return evidence{Platform: platform, Bundle: bundle, ReportData: hex.EncodeToString(data[:])}, err
}

func (t *attester) tpmBundle(data [64]byte) (string, map[string]any, error) {
	qualifying := sha256.Sum256(data[:])
	made, err := t.tpm.quote(qualifying[:])
	if errors.Is(err, os.ErrNotExist) {
		return "none", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	log, err := os.ReadFile(t.eventLog)
	if err != nil {
		return "", nil, err
	}
	if len(log) > eventLogMax {
		return "", nil, fmt.Errorf("the firmware's log has %d bytes", len(log))
	}
	encode := base64.StdEncoding.EncodeToString
	endorsement := []string{}
	if made.certificate != nil {
		endorsement = append([]string{encode(made.certificate)}, t.endorsers...)
	}
	return "tpm", map[string]any{
		"v": 1, "platform": "tpm", "quote": encode(made.quote), "signature": encode(made.signature), "key": encode(made.key),
		"eventLog": encode(log), "endorsement": endorsement,
	}, nil
}

// activate is of a TPM alone.
func (t *attester) activate(credential, secret string) (string, error) {
	blob, seed, err := activateQuestion{credential, secret}.parts()
	if err != nil {
		return "", err
	}
	opened, err := t.tpm.activate(blob, seed)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("this machine has no TPM")
	}
	return base64.StdEncoding.EncodeToString(opened), err
}

// parts: the front asks for nothing that they are not made of, and process 1 does not believe that it does.
func (q activateQuestion) parts() (blob, seed []byte, err error) {
	wrong := refusal{"malformed", "credential and secret are base64, each with its size before it"}
	blob, err = base64.StdEncoding.DecodeString(q.Credential)
	if err != nil || !isSized(blob) {
		return nil, nil, wrong
	}
	seed, err = base64.StdEncoding.DecodeString(q.Secret)
	if err != nil || !isSized(seed) {
		return nil, nil, wrong
	}
	return blob, seed, nil
}

// isSized: a TPM2B and nothing behind it, which the TPM would read as the next parameter.
func isSized(bytes []byte) bool {
	return len(bytes) > 2 && len(bytes) <= credentialBytesMax && int(bytes[0])<<8|int(bytes[1]) == len(bytes)-2
}
