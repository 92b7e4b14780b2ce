# SPDX-License-Identifier: Apache-2.0
# Tries to write in every folder outside the four writable places, and to the switches of the kernel.
find / -path /proc -prune -o -type d -writable -print 2>/dev/null |
  grep -vE '^/(session|tmp|run/casemate/input|dev/shm)(/|$)' |
  while read -r folder; do
    (: >"$folder/.escape") 2>/dev/null && echo "WROTE $folder"
  done
for folder in /dev /dev/pts /usr /usr/local /etc; do
  (: >"$folder/.escape") 2>/dev/null && echo "WROTE $folder"
done
for switch in core_pattern hostname modprobe ns_last_pid; do
  (echo x >"/proc/sys/kernel/$switch") 2>/dev/null && echo "WROTE $switch"
done
(echo b >/proc/sysrq-trigger) 2>/dev/null && echo "WROTE sysrq"
(echo -17 >/proc/self/oom_score_adj) 2>/dev/null && echo "WROTE oom_score_adj"
echo tried
