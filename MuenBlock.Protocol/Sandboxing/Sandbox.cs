namespace MuenBlock.Protocol.Sandboxing;

/// <summary>What a program that serves leaves itself once it has opened everything.</summary>
public static class Sandbox
{
    // linux/capability.h
    private const int ReadAnyFile = 2; // CAP_DAC_READ_SEARCH
    private const int ChangeGroups = 6; // CAP_SETGID
    private const int ChangeUser = 7; // CAP_SETUID
    private const int RawIo = 17; // CAP_SYS_RAWIO
    private const int LookIntoProcesses = 19; // CAP_SYS_PTRACE
    private const int Administer = 21; // CAP_SYS_ADMIN

    /// <summary>For a program that only moves data between memory and disks that are open.</summary>
    /// <param name="user">Whom to become; null to stay.</param>
    /// <param name="readsSmart">Whether it reads disks' SMART data, which the kernel lets nobody do without capabilities; another user has none.</param>
    public static void EnterAsBackend(string? user, bool readsSmart)
    {
        if (user is not null)
        {
            // What no program of this process could have is given up first: another user may not do that.
            Privileges.DropCapabilities(keep: (1ul << ChangeGroups) | (1ul << ChangeUser));
            Privileges.Become(user);
        }

        Privileges.DropCapabilities(keep: readsSmart ? (1ul << Administer) | (1ul << RawIo) : 0);
        Privileges.HideMemory();
        SystemCallFilter.Install(administers: false, readsSmart);
    }

    /// <summary>
    /// For a server of block devices. The driver takes the commands that end a device only from who has CAP_SYS_ADMIN, and to say who
    /// uses a device it has to look into other users' processes.
    /// </summary>
    public static void EnterAsBlockServer()
    {
        Privileges.HideMemory();
        Privileges.DropCapabilities(keep: (1ul << ReadAnyFile) | (1ul << LookIntoProcesses) | (1ul << Administer));
        SystemCallFilter.Install(administers: true, readsSmart: false);
    }
}
