# SPDX-License-Identifier: Apache-2.0
# `make check` is what CI runs; `make test` installs what it needs first.
GO      ?= go
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
FLAVORS ?= kvm,coreos
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
.PHONY: dist build stage1-kvm stage1-coreos demo test check unit e2e crash fuzz bench vm man install clean
# tools/programs is the list of programs.
build:
	GO=$(GO) $(GO) run ./tools/build -o $(BUILD) -version $(VERSION) -prefix $(PREFIX)

# What the kvm flavor starts, from Debian's kernel package: 55 MiB beside the programs.
stage1-kvm: build
	$(GO) run ./tools/stage1-kvm -o $(BUILD) -debs $(BUILD)/debs

# The tree of the coreos flavor, from Debian's packages of systemd: 23 MiB beside the
# programs; and as an image of 10 MiB, $(BUILD)/stage1-coreos.aci.
stage1-coreos: build
	$(GO) run ./tools/stage1-coreos -o $(BUILD) -version $(VERSION) -debs $(BUILD)/debs

# Builds an image from a static Go program and runs it, in a directory of its own.
demo: build
	$(GO) run ./tools/demo -rkt $(BUILD)/bin/rkt

# Everything this machine can run, after installing the Debian packages that
# the tests need; ends with what was skipped and why.
test:
	$(GO) run ./tools/check -install

check:
	$(GO) run ./tools/check

unit e2e crash fuzz:
	$(GO) run ./tools/check -only $@

# Every flavor through all tests of the contract, heavy ones, too; ends with a table.
flavors:
	$(GO) test -tags e2e -count=1 -timeout 60m -v ./test/stage1test -full

bench: build
	$(GO) run ./bench -rkt $(BUILD)/bin/rkt -out docs/benchmarks

# What needs version 2 of cgroups alone, AppArmor, another kernel: emulated, and slow.
vm:
	$(GO) run ./tools/vm

man:
	$(GO) run ./tools/man $(BUILD)/man

install: build
	GO=$(GO) $(GO) run ./tools/dist -install $(or $(DESTDIR),/) -built $(BUILD) -prefix $(PREFIX)

# Packages and tarballs for amd64 and arm64, in $(BUILD)/dist; FLAVORS= makes rkt's alone.
dist:
	GO=$(GO) $(GO) run ./tools/dist -out $(BUILD)/dist -version $(VERSION) -flavors "$(FLAVORS)" -debs $(BUILD)/debs

clean:
	rm -rf $(BUILD)
