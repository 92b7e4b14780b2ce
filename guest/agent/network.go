// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

const nameServersMax = 3

type networkArgs struct {
	Address     string   `json:"address"`
	Gateway     string   `json:"gateway"`
	NameServers []string `json:"nameServers"`
}

type network struct {
	address, mask, gateway [4]byte
	nameServers            []string
}

func (given networkArgs) parse() (*network, error) {
	address, bits, _ := strings.Cut(given.Address, "/")
	length, err := strconv.Atoi(bits)
	own, okOwn := parseAddress(address)
	gateway, okGateway := parseAddress(given.Gateway)
	if err != nil || length < 8 || length > 30 || !okOwn || !okGateway || len(given.NameServers) > nameServersMax {
		return nil, refusal{"malformed", "network is an IPv4 address/length, a gateway and up to 3 nameServers"}
	}
	for _, each := range given.NameServers {
		if _, ok := parseAddress(each); !ok {
			return nil, refusal{"malformed", "a name server is an IPv4 address"}
		}
	}
	parsed := &network{address: own, gateway: gateway, nameServers: given.NameServers}
	binary.BigEndian.PutUint32(parsed.mask[:], ^uint32(0)<<(32-length))
	return parsed, nil
}

func parseAddress(text string) (address [4]byte, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 4 {
		return address, false
	}
	for at, part := range parts {
		value, err := strconv.ParseUint(part, 10, 8)
		if err != nil || strconv.FormatUint(value, 10) != part {
			return address, false
		}
		address[at] = byte(value)
	}
	return address, true
}

// apply speaks to the kernel itself: a program for it would cost more time than all the rest of a claim.
func (n *network) apply() error {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(socket)
	device, err := firstDevice()
	if err != nil {
		return err
	}
	up := []byte{syscall.IFF_UP | 0, 0}
	for _, step := range []struct {
		what    string
		request uintptr
		device  string
		data    []byte
	}{
		{"loopback", syscall.SIOCSIFFLAGS, "lo", up},
		{"address", syscall.SIOCSIFADDR, device, socketAddress(n.address)},
		{"mask", syscall.SIOCSIFNETMASK, device, socketAddress(n.mask)},
		{"up", syscall.SIOCSIFFLAGS, device, up},
	} {
		request := make([]byte, 40) // struct ifreq
		copy(request[:15], step.device)
		copy(request[16:], step.data)
		if err := ioctl(socket, step.request, request); err != nil {
			return fmt.Errorf("%s of %s: %w", step.what, step.device, err)
		}
	}
	route := make([]byte, 120) // struct rtentry
	copy(route[8:], socketAddress([4]byte{}))
	copy(route[24:], socketAddress(n.gateway))
	copy(route[40:], socketAddress([4]byte{}))
	binary.LittleEndian.PutUint16(route[56:], syscall.RTF_UP|syscall.RTF_GATEWAY)
	if err := ioctl(socket, syscall.SIOCADDRT, route); err != nil {
		return fmt.Errorf("route: %w", err)
	}
	return n.writeNameServers()
}

func (n *network) writeNameServers() error {
	lines := ""
	for _, each := range n.nameServers {
		lines += "nameserver " + each + "\n"
	}
	return os.WriteFile("/etc/resolv.conf", []byte(lines), 0o644)
}

// firstDevice: a machine has one network device besides loopback.
func firstDevice() (string, error) {
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		if _, err := os.Stat("/sys/class/net/" + entry.Name() + "/device"); err == nil {
			return entry.Name(), nil
		}
	}
	return "", fmt.Errorf("there is no network device")
}

func socketAddress(address [4]byte) []byte {
	bytes := make([]byte, 16)
	binary.LittleEndian.PutUint16(bytes, syscall.AF_INET)
	copy(bytes[4:], address[:])
	return bytes
}

func ioctl(descriptor int, request uintptr, data []byte) error {
	_, _, code := syscall.Syscall(syscall.SYS_IOCTL, uintptr(descriptor), request, uintptr(unsafe.Pointer(&data[0])))
	if code != 0 {
		return code
	}
	return nil
}
