// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Evidence of a confidential processor, through the kernel's one interface for all of them (configfs-tsm, Linux 6.7): a folder is
// made, what is to be bound is written into it, the evidence is read from it. Never run on such a processor; the tests
// imitate the kernel's folder.

const (
	snpReportBytes = 1184
	tsmBlobMax     = 128 * 1024
	tsmTries       = 3
)

// tsmReports is the folder in which reports are made.
type tsmReports struct {
	folder string
	make   func(folder string) error
	mutex  sync.Mutex
	made   int
}

var errNoTsm = errors.New("this machine has no confidential processor that the kernel knows")

// evidence answers what evidence/recognise.ts reads, or errNoTsm.
func (t *tsmReports) evidence(reportData [64]byte) (platform string, bundle map[string]any, err error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if _, err := os.Stat(t.folder); err != nil {
		return "", nil, errNoTsm
	}
	for try := 0; ; try++ {
		platform, bundle, err = t.once(reportData)
		if !errors.Is(err, errOvertaken) || try == tsmTries {
			return platform, bundle, err
		}
	}
}

var errOvertaken = errors.New("somebody else wrote to the report")

func (t *tsmReports) once(reportData [64]byte) (platform string, bundle map[string]any, err error) {
	t.made++
	folder := filepath.Join(t.folder, fmt.Sprintf("casemate-%d", t.made))
	// Without a processor's driver the kernel refuses to make one.
	if err := t.make(folder); errors.Is(err, syscall.ENXIO) {
		return "", nil, errNoTsm
	} else if err != nil {
		return "", nil, err
	}
	defer os.Remove(folder)
	before, err := t.generation(folder)
	if err != nil {
		return "", nil, err
	}
	input, err := os.OpenFile(folder+"/inblob", os.O_WRONLY, 0)
	if err != nil {
		return "", nil, err
	}
	// One write: the kernel takes what is written at once.
	_, err = input.Write(reportData[:])
	if closed := input.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return "", nil, err
	}
	report, err := readBlob(folder + "/outblob")
	if err != nil {
		return "", nil, overtakenIfBusy(err)
	}
	extra, err := readBlob(folder + "/auxblob")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", nil, overtakenIfBusy(err)
	}
	provider, err := os.ReadFile(folder + "/provider")
	if err != nil {
		return "", nil, err
	}
	// The kernel counts writes: of ours alone it counted one.
	if after, err := t.generation(folder); err != nil || after != before+1 {
		return "", nil, errOvertaken
	}
	switch strings.TrimSpace(string(provider)) {
	case "sev_guest":
		bundle, err := snpBundle(report, extra)
		return "sev-snp", bundle, err
	case "tdx_guest":
		return "tdx", map[string]any{"v": 1, "platform": "tdx", "quote": base64.StdEncoding.EncodeToString(report)}, nil
	}
	return "", nil, errNoTsm
}

func overtakenIfBusy(err error) error {
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EBUSY) {
		return errOvertaken
	}
	return err
}

func (t *tsmReports) generation(folder string) (int, error) {
	text, err := os.ReadFile(folder + "/generation")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func readBlob(path string) ([]byte, error) {
	blob, err := os.ReadFile(path)
	if err == nil && len(blob) > tsmBlobMax {
		err = fmt.Errorf("%s is larger than it may be", filepath.Base(path))
	}
	return blob, err
}

// snpBundle: the host may have put certificates beside the report (GHCB, "SNP Extended Guest Request"); whoever judges needs
// the one that signed, and adds it where the host gave none.
func snpBundle(report, table []byte) (map[string]any, error) {
	if len(report) != snpReportBytes {
		return nil, fmt.Errorf("the report has %d bytes", len(report))
	}
	bundle := map[string]any{"v": 1, "platform": "sev-snp", "report": base64.StdEncoding.EncodeToString(report)}
	chain := []string{}
	for name, der := range certificateTable(table) {
		if name == "vcek" || name == "vlek" {
			if signedBy(report) == name {
				bundle["leaf"] = base64.StdEncoding.EncodeToString(der)
			}
		} else {
			chain = append(chain, base64.StdEncoding.EncodeToString(der))
		}
	}
	if len(chain) > 0 {
		bundle["chain"] = chain
	}
	return bundle, nil
}

// signedBy: bits 2 to 4 beside the author key.
func signedBy(report []byte) string {
	switch binary.LittleEndian.Uint32(report[0x48:]) >> 2 & 7 {
	case 0:
		return "vcek"
	case 1:
		return "vlek"
	}
	return ""
}

var certificateNames = map[string]string{
	"63da758de6644564adc5f4b93be8accd": "vcek",
	"a8074bc2a25a483eaae639c045a0b8a1": "vlek",
	"4ab7b379bbac4fe4a02f05aef327c782": "ask",
	"c0b406a4a803495297433fb6014cd0ae": "ark",
}

// certificateTable: entries of a GUID, an offset and a length, up to one of zeros. The host wrote it all. It may write a GUID in
// either of the two orders of bytes that there are; both are known by their one meaning.
func certificateTable(table []byte) map[string][]byte {
	const entryBytes = 24
	found := map[string][]byte{}
	for at := 0; at+entryBytes <= len(table); at += entryBytes {
		entry := table[at : at+entryBytes]
		if bytes.Equal(entry, make([]byte, entryBytes)) {
			break
		}
		name := certificateNames[hex.EncodeToString(entry[:16])]
		if name == "" {
			name = certificateNames[hex.EncodeToString(otherGuidOrder(entry[:16]))]
		}
		from, length := uint64(binary.LittleEndian.Uint32(entry[16:])), uint64(binary.LittleEndian.Uint32(entry[20:]))
		if name != "" && length > 0 && from+length <= uint64(len(table)) {
			found[name] = table[from : from+length]
		}
	}
	return found
}

func otherGuidOrder(guid []byte) []byte {
	return append([]byte{guid[3], guid[2], guid[1], guid[0], guid[5], guid[4], guid[7], guid[6]}, guid[8:]...)
}
