// SPDX-License-Identifier: Apache-2.0
package main

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
)

// identity is the keys of this boot: made after the host's entropy came in, in no file, and gone with the machine. Evidence
// binds both (report_data.go), so what is sealed to the one and served with the other is this machine's.
type identity struct {
	sealing *ecdh.PrivateKey
	tls     *ecdsa.PrivateKey
	// SubjectPublicKeyInfo of tls, DER.
	spki []byte
	// For the manifest's domains; nil when it has none.
	request []byte
}

func makeIdentity(domains []string) (*identity, error) {
	sealing, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	served, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	made := &identity{sealing: sealing, tls: served}
	if made.spki, err = x509.MarshalPKIXPublicKey(&served.PublicKey); err != nil {
		return nil, err
	}
	if len(domains) > 0 {
		made.request, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			DNSNames: domains, SignatureAlgorithm: x509.ECDSAWithSHA256,
		}, served)
	}
	return made, err
}

// said is what a claim answers of it.
func (i *identity) said() map[string]any {
	var request any
	if i.request != nil {
		request = base64.StdEncoding.EncodeToString(i.request)
	}
	return map[string]any{
		"sealing": base64.StdEncoding.EncodeToString(i.sealing.PublicKey().Bytes()),
		"tls":     base64.StdEncoding.EncodeToString(i.spki),
		"request": request,
	}
}

const (
	chainBytesMax        = 65536
	chainCertificatesMax = 8
)

// checkChain: the first certificate is of our key. Who signed it, and for which names, is for those to judge who connect.
func (i *identity) checkChain(text string) error {
	wrong := refusal{"malformed", "chain is PEM of 1 to 8 certificates, the first of this machine's key"}
	if len(text) > chainBytesMax {
		return wrong
	}
	rest := []byte(text)
	for count := 0; ; count++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if count == 0 {
				return wrong
			}
			return nil
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" || count == chainCertificatesMax {
			return wrong
		}
		if served, known := certificate.PublicKey.(*ecdsa.PublicKey); count == 0 && (!known || !served.Equal(i.tls.Public())) {
			return wrong
		}
	}
}
