# What a person or a CI job runs. Each target first installs what it needs and lacks.
# `make help` lists the targets; docs/ says what each of them shows.

# AWS-LC with its libssl (DTLS) is built with cmake, and its bindings with libclang.
BUILD_PACKAGES := build-essential cmake libclang-dev
SRTP_BENCH_PACKAGES := $(BUILD_PACKAGES) libsrtp2-dev
# Peers of the SRTP figure; intel-ipsec-mb is for x86-64 alone.
SRTP_BENCH_PEERS := aws-lc,libsrtp
ifeq ($(shell uname -m),x86_64)
SRTP_BENCH_PACKAGES += libipsec-mb-dev
SRTP_BENCH_PEERS := $(SRTP_BENCH_PEERS),ipsec-mb
endif
BENCH_PACKAGES := rtpengine-daemon iproute2 $(SRTP_BENCH_PACKAGES)
# QEMU and what goes into the test VM; the C tools build netdevsim for its kernel.
VM_PACKAGES := $(BUILD_PACKAGES) qemu-system-x86 busybox-static cpio kmod xz-utils libelf1 iproute2 ethtool strongswan-swanctl charon-systemd
# Peers of the TLS listeners; scripts/fetch-sipp-tls brings a sipp with TLS.
TLS_TEST_PACKAGES := openssl curl gnutls-bin tshark testssl.sh kamailio-tls-modules
# Peers of WebRTC legs; scripts/aiortc-python brings aiortc.
WEBRTC_TEST_PACKAGES := chromium chromium-driver python3-venv janus baresip tshark
TEST_PACKAGES := $(VM_PACKAGES) pkg-config openssl ffmpeg kamailio sip-tester rtpengine-daemon softhsm2 iproute2 $(SRTP_BENCH_PACKAGES) $(TLS_TEST_PACKAGES) $(WEBRTC_TEST_PACKAGES)

CARGO ?= cargo
# The peer of the ESP figure: a crate's program, built once.
BORINGTUN_VERSION := 0.7.1
BORINGTUN := $(CURDIR)/target/bench-tools/bin/boringtun-cli
# Peers of the TLS figure.
TLS_BENCH_PACKAGES := $(BUILD_PACKAGES) haproxy nginx libnginx-mod-stream
WEBRTC_BENCH_PACKAGES := $(BUILD_PACKAGES) rtpengine-daemon util-linux
ESP_BENCH_PACKAGES := $(BUILD_PACKAGES) iproute2 wireguard-tools
# Flags of a figure: `make bench-srtp FLAGS=--markdown`.
FLAGS ?=
# Seconds that `make fuzz` gives to each target.
FUZZ_SECONDS ?= 20

.PHONY: help setup demo test test-vm lint bench bench-srtp bench-esp bench-sas bench-tls bench-webrtc bench-ktls-memory fuzz

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install every package that demo, test and bench need
	@scripts/install-packages $(sort $(BUILD_PACKAGES) $(TEST_PACKAGES) $(BENCH_PACKAGES) $(TLS_BENCH_PACKAGES) $(WEBRTC_BENCH_PACKAGES))

demo: ## start a gateway, relay 100 calls for 10 s through it, show loss and latency
	@scripts/install-packages $(BUILD_PACKAGES)
	$(CARGO) build --release --locked -p gateway --bin gateway
	$(CARGO) run --release --locked -p loadgen -- demo

test: ## lint, every test of the workspace, real peers, two gateways, test VMs; ends with what was SKIPPED
	@scripts/install-packages $(TEST_PACKAGES)
	@scripts/run-tests

test-vm: ## the tests that want a kernel with ESP and kTLS, under QEMU on two Debian kernels
	@scripts/install-packages $(VM_PACKAGES)
	@scripts/run-vm-tests

lint: ## format, clippy, rustdoc, dependency table, licences and sources
	@scripts/install-packages $(SRTP_BENCH_PACKAGES)
	@scripts/lint

bench: ## every figure, against peers measured in the same run, as ratios
	@scripts/install-packages $(BENCH_PACKAGES)
	$(CARGO) build --release --locked -p gateway --bin gateway
	$(CARGO) run --release --locked -p benches --features $(SRTP_BENCH_PEERS) --bin figures -- \
		relay ceiling memory idle control srtp
	$(MAKE) bench-esp bench-sas bench-tls bench-webrtc

bench-srtp: ## ns per SRTP packet beside six other implementations, in one run
	@scripts/install-packages $(SRTP_BENCH_PACKAGES)
	$(CARGO) run --release --locked -p benches --features $(SRTP_BENCH_PEERS) --bin figures -- srtp $(FLAGS)

bench-esp: ## packets per core through user-space ESP, beside boringtun, in one run
	@scripts/install-packages $(ESP_BENCH_PACKAGES)
	@test -x $(BORINGTUN) || $(CARGO) install --locked --quiet --root $(CURDIR)/target/bench-tools \
		--target-dir $(CURDIR)/target/bench-tools/build boringtun-cli@$(BORINGTUN_VERSION)
	$(CARGO) build --release --locked -p offload-agent -p benches --bins
	BORINGTUN=$(BORINGTUN) target/release/figures esp $(FLAGS)

bench-sas: ## rotate 1,000 SAs under traffic, list 10,000
	@scripts/install-packages $(BUILD_PACKAGES) iproute2
	$(CARGO) build --release --locked -p gateway -p offload-agent -p keymgr -p benches --bins
	target/release/sa_figures $(FLAGS)

bench-tls: ## TLS handshakes, bulk, idle connections and latency, beside HAProxy and nginx, in one run
	@scripts/install-packages $(TLS_BENCH_PACKAGES)
	$(CARGO) build --release --locked -p gateway -p benches --bin gateway --bin tls_figures
	$${CARGO_TARGET_DIR:-target}/release/tls_figures $(FLAGS)

bench-webrtc: ## media under a storm of DTLS handshakes, CPU per handshake, memory per idle leg, beside rtpengine
	@scripts/install-packages $(WEBRTC_BENCH_PACKAGES)
	$(CARGO) build --release --locked -p gateway -p benches --bin gateway --bin webrtc_figures
	$${CARGO_TARGET_DIR:-target}/release/webrtc_figures $(FLAGS)

bench-ktls-memory: ## memory per idle TLS connection with records in the kernel, in a test VM
	@scripts/install-packages $(VM_PACKAGES)
	$(CARGO) build --release --locked -p gateway -p benches --bin gateway --bin ktls_memory
	@deploy/testvm/bench-ktls-memory $${CARGO_TARGET_DIR:-target}/release $(FLAGS)

fuzz: ## run each fuzz target for FUZZ_SECONDS (20)
	@scripts/install-packages $(BUILD_PACKAGES)
	@scripts/run-fuzz $(FUZZ_SECONDS)
