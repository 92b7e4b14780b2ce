// SPDX-License-Identifier: Apache-2.0
package main

// Templates of the keys that are made in a TPM (TPMT_PUBLIC). The endorsement keys' are the profile's own (TCG, "EK Credential
// Profile", templates L-1 and L-2): only from these the TPM makes the key that its certificate is of.

func signingTemplate() []byte {
	var area tpmMessage
	area.u16(algEcc)
	area.u16(algSha256)
	area.u32(signingAttributes)
	area.sized(nil) // no policy
	area.u16(algNull)
	area.u16(algEcdsa)
	area.u16(algSha256)
	area.u16(curveP256)
	area.u16(algNull) // derives no keys
	area.sized(nil)
	area.sized(nil)
	return area.bytes
}

func rsaEndorsementTemplate() []byte {
	area := endorsementTemplate(algRsa)
	area.u16(algNull) // no scheme
	area.u16(2048)
	area.u32(0) // exponent 65537
	area.sized(make([]byte, 256))
	return area.bytes
}

func eccEndorsementTemplate() []byte {
	area := endorsementTemplate(algEcc)
	area.u16(algNull) // no scheme
	area.u16(curveP256)
	area.u16(algNull) // derives no keys
	area.sized(make([]byte, 32))
	area.sized(make([]byte, 32))
	return area.bytes
}

func endorsementTemplate(kind uint16) tpmMessage {
	var area tpmMessage
	area.u16(kind)
	area.u16(algSha256)
	area.u32(endorsementAttributes)
	area.sized(endorsementPolicy)
	area.u16(algAes)
	area.u16(128)
	area.u16(algCfb)
	return area
}
