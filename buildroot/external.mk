include $(sort $(wildcard $(BR2_EXTERNAL_WARPPOOL_PATH)/package/*/*.mk))

# A fragment's option that Kconfig dropped leaves no trace but a warning in a
# long log. The build ends here instead, before anything is compiled with it.
WARPPOOL_CHECK_FRAGMENTS = \
	$(BR2_EXTERNAL_WARPPOOL_PATH)/board/warppool/common/check-fragments.sh

define WARPPOOL_CHECK_LINUX_FRAGMENTS
	$(WARPPOOL_CHECK_FRAGMENTS) $(@D)/.config $(LINUX_KCONFIG_FRAGMENT_FILES)
endef
LINUX_POST_CONFIGURE_HOOKS += WARPPOOL_CHECK_LINUX_FRAGMENTS

define WARPPOOL_CHECK_BUSYBOX_FRAGMENTS
	$(WARPPOOL_CHECK_FRAGMENTS) $(@D)/.config $(BUSYBOX_KCONFIG_FRAGMENT_FILES)
endef
BUSYBOX_POST_CONFIGURE_HOOKS += WARPPOOL_CHECK_BUSYBOX_FRAGMENTS
