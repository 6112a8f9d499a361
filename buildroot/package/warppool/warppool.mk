################################################################################
#
# warppool
#
################################################################################

# Of the repository only the licences are copied: the binary comes prebuilt, for
# rustc's own musl target gives a static one without any toolchain of Buildroot.
WARPPOOL_SITE = $(realpath $(BR2_EXTERNAL_WARPPOOL_PATH)/..)
WARPPOOL_SITE_METHOD = local
WARPPOOL_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	--include=/LICENSE-APACHE --include=/LICENSE-MIT --exclude='*'
WARPPOOL_VERSION := $(shell sed -n \
	'/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' \
	$(WARPPOOL_SITE)/Cargo.toml)
WARPPOOL_LICENSE = Apache-2.0 or MIT
WARPPOOL_LICENSE_FILES = LICENSE-APACHE LICENSE-MIT

# The image tool takes the same file into the slot's part for the pool.
WARPPOOL_PREBUILT = $(or $(call qstrip,$(BR2_PACKAGE_WARPPOOL_BINARY)),$(WARPPOOL_BINARY))

define WARPPOOL_COPY_BINARY
	$(if $(WARPPOOL_PREBUILT),,\
		$(error warppool: name the binary by BR2_PACKAGE_WARPPOOL_BINARY \
			or WARPPOOL_BINARY; scripts/cross builds it))
	$(INSTALL) -m 0755 $(WARPPOOL_PREBUILT) $(@D)/warppool
endef
WARPPOOL_POST_RSYNC_HOOKS += WARPPOOL_COPY_BINARY

define WARPPOOL_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/warppool $(TARGET_DIR)/usr/bin/warppool
	ln -sf usr/bin/warppool $(TARGET_DIR)/init
endef

$(eval $(generic-package))
