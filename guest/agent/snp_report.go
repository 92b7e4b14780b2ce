// SPDX-License-Identifier: Apache-2.0
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// decodeSnpReport names the fields of a report (56860, "ATTESTATION_REPORT Structure"), bytes in hex. For people to read: who
// verifies reads the raw one.
func decodeSnpReport(raw []byte) map[string]any {
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(raw[at:]) }
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(raw[at:]) }
	part := func(at, length int) string { return hex.EncodeToString(raw[at : at+length]) }
	tcb := func(at int) map[string]any {
		return map[string]any{"bootloader": raw[at], "tee": raw[at+1], "snp": raw[at+6], "microcode": raw[at+7], "raw": part(at, 8)}
	}
	firmware := func(at int) map[string]any {
		return map[string]any{"build": raw[at], "minor": raw[at+1], "major": raw[at+2]}
	}
	fields := map[string]any{
		"version": u32(0), "guest_svn": u32(0x04), "policy": hexOfNumber(u64(0x08)), "family_id": part(0x10, 16),
		"image_id": part(0x20, 16), "vmpl": u32(0x30), "signature_algo": u32(0x34), "current_tcb": tcb(0x38),
		"platform_info": hexOfNumber(u64(0x40)), "key_info": u32(0x48), "report_data": part(0x50, 64),
		"measurement": part(0x90, 48), "host_data": part(0xc0, 32), "id_key_digest": part(0xe0, 48),
		"author_key_digest": part(0x110, 48), "report_id": part(0x140, 32), "report_id_ma": part(0x160, 32),
		"reported_tcb": tcb(0x180), "chip_id": part(0x1a0, 64), "committed_tcb": tcb(0x1e0),
		"current": firmware(0x1e8), "committed": firmware(0x1ec), "launch_tcb": tcb(0x1f0),
		"signature": map[string]any{"r": part(0x2a0, 72), "s": part(0x2e8, 72)},
	}
	if u32(0) >= 3 {
		fields["cpuid_fam_id"], fields["cpuid_mod_id"], fields["cpuid_step"] = raw[0x188], raw[0x189], raw[0x18a]
	}
	return fields
}

// hexOfNumber: 64 bits are more than a number of JSON holds for every reader.
func hexOfNumber(value uint64) string {
	return "0x" + hex.EncodeToString(binary.BigEndian.AppendUint64(nil, value))
}

func sha256Hex(bytes []byte) string {
	sum := sha256.Sum256(bytes)
	return hex.EncodeToString(sum[:])
}
