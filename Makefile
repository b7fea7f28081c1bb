# SPDX-License-Identifier: Apache-2.0
# `make check` is what CI runs; `make test` installs what it needs first.
GO      ?= go
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
X       := github.com/rkt/rkt/internal
GOBUILD  = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w $(foreach p,cli build/cmd,-X $(X)/$(p).Version=$(VERSION) -X $(X)/$(p).Prefix=$(PREFIX))'
LIBEXEC  = $(BUILD)/libexec/rkt

.PHONY: build demo test check unit e2e crash fuzz bench vm man install clean
build:
	$(GOBUILD) -o $(BUILD)/bin/ ./cmd/rkt ./cmd/acbuild && ln -sf acbuild $(BUILD)/bin/actool
	$(GOBUILD) -o $(LIBEXEC)/ ./cmd/fetch ./cmd/network ./cmd/doctor ./cmd/stage1-native ./cmd/stage1-fly
	$(GOBUILD) -ldflags '-s -w -E main.enter' -o $(LIBEXEC)/ ./cmd/join
	@# The kernel caches a copy in larger pieces than what the linker wrote: 0.5 ms a start.
	for f in bin/rkt libexec/rkt/stage1-native; do cp -p $(BUILD)/$$f $(BUILD)/$$f.new && mv $(BUILD)/$$f.new $(BUILD)/$$f; done
	for f in native fly; do $(LIBEXEC)/stage1-$$f manifest > $(LIBEXEC)/new && mv $(LIBEXEC)/new $(LIBEXEC)/stage1-$$f.json; done

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

bench: build
	$(GO) run ./bench -rkt $(BUILD)/bin/rkt -out docs/benchmarks

# The tests of limits on cgroup version 2 alone, in an emulated machine: slow.
vm:
	$(GO) run ./tools/vm

man:
	$(GO) run ./tools/man $(BUILD)/man

install: build man
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(BUILD)/bin/rkt $(BUILD)/bin/acbuild
	ln -sf acbuild $(DESTDIR)$(PREFIX)/bin/actool
	install -d $(DESTDIR)$(PREFIX)/libexec/rkt $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(LIBEXEC)/fetch $(LIBEXEC)/network $(LIBEXEC)/join $(LIBEXEC)/doctor $(LIBEXEC)/stage1-native $(LIBEXEC)/stage1-fly $(DESTDIR)$(PREFIX)/libexec/rkt
	install -m 644 $(LIBEXEC)/stage1-native.json $(LIBEXEC)/stage1-fly.json $(DESTDIR)$(PREFIX)/libexec/rkt
	install -m 644 $(BUILD)/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1

clean:
	rm -rf $(BUILD)
