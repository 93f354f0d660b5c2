/* SPDX-License-Identifier: MIT */

/*
 * Keeps one empty virtual machine, so that KVM does not switch AMD-V off and on again each time the
 * last guest ends and the next begins: QEMU's emulation does not always survive that.
 */

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0 || ioctl(kvm, KVM_CREATE_VM, 0) < 0)
		return 1;
	for (;;)
		pause();
}
