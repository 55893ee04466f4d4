# Runs as the only program of a box and says what it finds, one `key value` per line. Breaks nothing: where a wall is
# missing, it notices and goes on.
exec >/workspace/out 2>/dev/null
echo "uid $(id -u)"
for key in CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp; do
    echo "$key $(sed -n "s/^$key:[[:space:]]*//p" /proc/self/status)"
done
for kind in pid net ipc uts cgroup mnt; do echo "ns-$kind $(readlink /proc/self/ns/$kind)"; done
write() { if (: >"$2"); then echo "$1 $2"; fi; }
for place in / /usr /etc /lib /opt; do write root "$place/nanoclaw-doctor"; done
write vault-written /run/vault/nanoclaw-doctor
for file in /proc/sys/kernel/core_pattern /proc/sys/net/ipv4/ip_forward /proc/sysrq-trigger /proc/sys/vm/drop_caches; do
    write kernel "$file"
done
mknod /tmp/disk b 8 0 && echo "kernel mknod"
cp /bin/true /run/true && /run/true && echo "run /run/true"
for file in /proc/keys /proc/kcore /proc/timer_list /proc/sched_debug /proc/interrupts; do
    [ -z "$(head -c 1 $file | tr '\0' x)" ] || echo "masked $file"
done
echo "interfaces $(tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort | tr '\n' ' ')"
echo "nofile $(ulimit -Hn)"
echo "core $(ulimit -Hc)"
for place in /tmp /dev/shm; do echo "size-$place $(stat -f -c %b $place) $(stat -f -c %S $place)"; done
echo "label $(tr -d '\0' </proc/self/attr/current)"
command -v perl >/dev/null && perl /workspace/probe.pl
echo "end here"
