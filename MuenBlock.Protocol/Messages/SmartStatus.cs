namespace MuenBlock.Protocol.Messages;

/// <summary>The answer to <see cref="RequestKind.GetSmart"/> (docs/wire-format.md, "Request and response").</summary>
public enum SmartStatus : ulong
{
    /// <summary>The device has SMART data, but it could not be read, or the request is wrong.</summary>
    Failure = 0,

    /// <summary>The data is in the buffer, and the device is well.</summary>
    Ok = 1,

    /// <summary>The data is in the buffer, and a threshold is exceeded: the device expects to fail.</summary>
    ThresholdExceeded = 2,

    /// <summary>The device has no SMART data.</summary>
    Undefined = 3,
}
