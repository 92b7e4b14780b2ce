// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
)

// tpm makes what a verifier asks for: a quote by a key that signs nothing else, and the proof that this key lives in the TPM
// that an endorsement key stands for. Keys are primary ones: the TPM makes the same of the same template, so none is kept,
// and everything that was loaded for a question is flushed with it. The room in a TPM is for three objects.
type tpm struct {
	mutex sync.Mutex
	open  func() (io.ReadWriteCloser, error)
}

const (
	algRsa, algAes, algSha256, algNull, algEcdsa, algEcc, algCfb = 0x0001, 0x0006, 0x000b, 0x0010, 0x0018, 0x0023, 0x0043
	curveP256                                                    = 0x0003

	// fixedTPM, fixedParent, sensitiveDataOrigin; userWithAuth, restricted, sign.
	signingAttributes = 0x00050072
	// fixedTPM, fixedParent, sensitiveDataOrigin; adminWithPolicy, restricted, decrypt.
	endorsementAttributes = 0x000300b2

	// Where makers put the certificate of the endorsement key (TCG, "EK Credential Profile", 2.2.1.4).
	rsaCertificateIndex = 0x01c00002
	eccCertificateIndex = 0x01c0000a
	certificateBytesMax = 8192
	// A TPM need not read more at once.
	nvPartBytes = 512

	credentialBytesMax = 512
	// TPM_RC_HANDLE for the first handle: there is no such index.
	noSuchIndex = tpmRefusal(0x18b)
)

// "PolicySecret(TPM_RH_ENDORSEMENT)" (profile, B.3.3).
var endorsementPolicy, _ = hex.DecodeString("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")

// The SHA-256 bank's registers 0 to 7 of the firmware, 9, 11 and 12 of the kernel, its initramfs and its command line.
var quotedRegisters = []byte{0xff, 0x1a, 0x00}

type tpmEvidence struct {
	quote, signature, key []byte
	// Of the endorsement key; nil when its maker gave none.
	certificate []byte
}

// with runs one conversation. One at a time: what one loaded is in the other's way.
func (t *tpm) with(do func(device io.ReadWriter) error) error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	device, err := t.open()
	if err != nil {
		return err
	}
	defer device.Close()
	return do(device)
}

func (t *tpm) quote(qualifyingData []byte) (made tpmEvidence, err error) {
	err = t.with(func(device io.ReadWriter) error {
		handle, area, err := createPrimary(device, signingTemplate())
		if err != nil {
			return fmt.Errorf("signing key: %w", err)
		}
		defer flush(device, handle)
		var parameters tpmMessage
		parameters.sized(qualifyingData)
		parameters.u16(algNull) // the key's own scheme
		parameters.u32(1)
		parameters.u16(algSha256)
		parameters.u8(uint8(len(quotedRegisters)))
		parameters.raw(quotedRegisters)
		_, answer, err := tpmAsk{code: tpmQuote, handles: []uint32{handle}, sessions: []uint32{tpmPassword},
			parameters: parameters.bytes}.on(device)
		if err != nil {
			return fmt.Errorf("quote: %w", err)
		}
		made.key = area
		made.quote = answer.sized()
		made.signature = answer.bytes
		if answer.err != nil {
			return answer.err
		}
		_, made.certificate, err = endorsementOf(device)
		return err
	})
	return made, err
}

// activate opens a credential with the endorsement key, if it was made for the name of the key that signs quotes.
func (t *tpm) activate(credential, secret []byte) (opened []byte, err error) {
	err = t.with(func(device io.ReadWriter) error {
		template, _, err := endorsementOf(device)
		if err != nil {
			return err
		}
		endorsement, _, err := createPrimary(device, template)
		if err != nil {
			return fmt.Errorf("endorsement key: %w", err)
		}
		defer flush(device, endorsement)
		signing, _, err := createPrimary(device, signingTemplate())
		if err != nil {
			return fmt.Errorf("signing key: %w", err)
		}
		defer flush(device, signing)
		session, err := startEndorsementSession(device)
		if err != nil {
			return fmt.Errorf("session: %w", err)
		}
		defer flush(device, session)
		// Both come with their sizes before them, as they were made.
		parameters := append(append([]byte{}, credential...), secret...)
		_, answer, err := tpmAsk{code: tpmActivateCredential, handles: []uint32{signing, endorsement},
			sessions: []uint32{tpmPassword, session}, parameters: parameters}.on(device)
		if err != nil {
			return fmt.Errorf("credential: %w", err)
		}
		opened = answer.sized()
		return answer.err
	})
	return opened, err
}

// endorsementOf answers the template of the endorsement key that has a certificate, and that. Of a TPM without any it is RSA's,
// which every TPM of this kind makes.
func endorsementOf(device io.ReadWriter) (template, certificate []byte, err error) {
	for _, each := range []struct {
		index    uint32
		template []byte
	}{{rsaCertificateIndex, rsaEndorsementTemplate()}, {eccCertificateIndex, eccEndorsementTemplate()}} {
		certificate, err := readNv(device, each.index)
		if errors.Is(err, noSuchIndex) {
			continue
		}
		return each.template, certificate, err
	}
	return rsaEndorsementTemplate(), nil, nil
}

func createPrimary(device io.ReadWriter, template []byte) (handle uint32, area []byte, err error) {
	var parameters tpmMessage
	parameters.sized([]byte{0, 0, 0, 0}) // no password, nothing to seal
	parameters.sized(template)
	parameters.sized(nil) // nothing from outside
	parameters.u32(0)     // no registers
	handles, answer, err := tpmAsk{code: tpmCreatePrimary, handles: []uint32{tpmEndorsement},
		sessions: []uint32{tpmPassword}, parameters: parameters.bytes, answers: 1}.on(device)
	if err != nil {
		return 0, nil, err
	}
	area = answer.sized()
	if answer.err != nil {
		flush(device, handles[0])
		return 0, nil, answer.err
	}
	return handles[0], area, nil
}

// startEndorsementSession: the endorsement key obeys who may use the endorsement hierarchy, which here is whoever asks.
func startEndorsementSession(device io.ReadWriter) (uint32, error) {
	var parameters tpmMessage
	parameters.sized(make([]byte, 16)) // our nonce: nothing is authorised or encrypted with what it goes into
	parameters.sized(nil)
	parameters.u8(1) // TPM_SE_POLICY
	parameters.u16(algNull)
	parameters.u16(algSha256)
	handles, _, err := tpmAsk{code: tpmStartAuthSession, handles: []uint32{tpmNull, tpmNull},
		parameters: parameters.bytes, answers: 1}.on(device)
	if err != nil {
		return 0, err
	}
	var policy tpmMessage
	policy.sized(nil) // nonceTPM
	policy.sized(nil) // cpHashA
	policy.sized(nil) // policyRef
	policy.u32(0)     // for as long as the session
	_, _, err = tpmAsk{code: tpmPolicySecret, handles: []uint32{tpmEndorsement, handles[0]},
		sessions: []uint32{tpmPassword}, parameters: policy.bytes}.on(device)
	if err != nil {
		flush(device, handles[0])
	}
	return handles[0], err
}

func readNv(device io.ReadWriter, index uint32) ([]byte, error) {
	_, answer, err := tpmAsk{code: tpmNvReadPublic, handles: []uint32{index}}.on(device)
	if err != nil {
		return nil, err
	}
	area := tpmAnswer{bytes: answer.sized()}
	area.raw(4 + 2 + 4) // index, name's hash, attributes
	area.sized()        // policy
	size := area.u16()
	if answer.err != nil || area.err != nil || size > certificateBytesMax {
		return nil, fmt.Errorf("what the TPM says of its index 0x%x is none of a certificate", index)
	}
	var whole []byte
	for len(whole) < size {
		var parameters tpmMessage
		parameters.u16(uint16(min(nvPartBytes, size-len(whole))))
		parameters.u16(uint16(len(whole)))
		_, answer, err := tpmAsk{code: tpmNvRead, handles: []uint32{index, index}, sessions: []uint32{tpmPassword},
			parameters: parameters.bytes}.on(device)
		if err != nil {
			return nil, err
		}
		part := answer.sized()
		if answer.err != nil || len(part) == 0 {
			return nil, fmt.Errorf("the TPM does not give its index 0x%x whole", index)
		}
		whole = append(whole, part...)
	}
	return whole, nil
}

func flush(device io.ReadWriter, handle uint32) {
	var parameters tpmMessage
	parameters.u32(handle)
	// Of the TPM's three places one is lost when it refuses; the next question says so.
	_, _, _ = tpmAsk{code: tpmFlushContext, parameters: parameters.bytes}.on(device)
}
